"""What the write path counts for Prometheus."""

from __future__ import annotations

from ragline import metrics
from services.preprocess.jobs import State


def accepted(documents: int) -> None:
    """So many documents were acknowledged."""
    metrics.counter("ragline_documents_accepted", "Documents that were acknowledged.").inc(documents)


def ended(state: State) -> None:
    """A document, or one out of a file of many, has ended."""
    metrics.counter("ragline_documents_ended", "Documents that workers ended, by how.", ("state",)).labels(
        state
    ).inc()
