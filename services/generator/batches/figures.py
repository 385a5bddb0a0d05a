"""What batches count for Prometheus."""

from __future__ import annotations

from ragline import metrics


def accepted(lines: int) -> None:
    """A batch of so many lines was acknowledged."""
    metrics.counter("ragline_batch_lines_accepted", "Lines of batches that were acknowledged.").inc(lines)


def ended(lines: int, failed: int) -> None:
    """A chunk is finished: so many lines have a result, and of so many of them it is an error."""
    about = "Lines of batches that workers ended, by how; a chunk at a time."
    counter = metrics.counter("ragline_batch_lines_ended", about, ("state",))
    counter.labels("done").inc(lines - failed)
    counter.labels("failed").inc(failed)
