"""What batches count for Prometheus."""

from __future__ import annotations

from collections.abc import Callable

from ragline import metrics
from ragline.broker import Broker
from services.generator.batches.manifest import QUEUE


def accepted(lines: int) -> None:
    """A batch of so many lines was acknowledged."""
    metrics.counter("ragline_batch_lines_accepted", "Lines of batches that were acknowledged.").inc(lines)


def ended(lines: int, failed: int) -> None:
    """A chunk is finished: so many lines have a result, and of so many of them it is an error."""
    about = "Lines of batches that workers ended, by how; a chunk at a time."
    counter = metrics.counter("ragline_batch_lines_ended", about, ("state",))
    counter.labels("done").inc(lines - failed)
    counter.labels("failed").inc(failed)


def watch_queue(broker: Broker) -> Callable[[], None]:
    """Show how many messages wait whenever the figures are read; returns what ends that."""
    about = "Messages waiting, those for a retry included, and in hand of this process."
    depth = metrics.gauge("ragline_queue_depth", about, ("queue",)).labels(QUEUE)

    async def refresh() -> None:
        depth.set(await broker.depth(QUEUE))

    return metrics.on_read(refresh)
