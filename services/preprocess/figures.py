"""What the write path counts for Prometheus."""

from __future__ import annotations

from collections.abc import Callable

from ragline import metrics
from ragline.broker import Broker
from services.preprocess.jobs import State
from services.preprocess.messages import QUEUE


def accepted(documents: int) -> None:
    """So many documents were acknowledged."""
    metrics.counter("ragline_documents_accepted", "Documents that were acknowledged.").inc(documents)


def ended(state: State) -> None:
    """A document, or one out of a file of many, has ended."""
    metrics.counter("ragline_documents_ended", "Documents that workers ended, by how.", ("state",)).labels(
        state
    ).inc()


def watch_queue(broker: Broker) -> Callable[[], None]:
    """Show how many messages wait whenever the figures are read; returns what ends that."""
    about = "Messages waiting, those for a retry included, and in hand of this process."
    depth = metrics.gauge("ragline_queue_depth", about, ("queue",)).labels(QUEUE)

    async def refresh() -> None:
        depth.set(await broker.depth(QUEUE))

    return metrics.on_read(refresh)
