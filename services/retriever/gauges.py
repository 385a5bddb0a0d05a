"""What each collection holds, at /metrics: asked for when the page is read."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from ragline import metrics
from services.retriever.stores import Scope, Store

LABELS = ("tenant", "collection")
ABOUT = {
    "documents": "Documents of a collection.",
    "passages": "Passages of a collection.",
    "generation": "Changes that a collection went through.",
    "dead_passages": "Deleted passages whose room is not yet given back.",
    "staged": "Passages that have vectors of the embedder to come.",
}


def watch(store: Store) -> Callable[[], None]:
    """Show the store's collections from now on; returns the end of it."""
    gauges = {name: metrics.gauge(f"ragline_collection_{name}", about, LABELS) for name, about in ABOUT.items()}

    async def refresh() -> None:
        for state in await asyncio.to_thread(store.states, Scope()):
            for name, gauge in gauges.items():
                gauge.labels(state.tenant, state.collection).set(getattr(state, name))

    return metrics.on_read(refresh)
