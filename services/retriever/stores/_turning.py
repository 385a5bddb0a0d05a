"""A collection in memory after its vectors became others: the dense side anew, the rest as it was."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from services.retriever.stores._held import Held
from services.retriever.stores._layers import Layers, within
from services.retriever.stores._rows import Change
from services.retriever.stores._snapshot import Snapshot


def turned(held: Held, changes: Sequence[Change], generation: int) -> Snapshot:
    """The snapshot after a group in which the collection switched; the record has all of it (writer's thread).

    The one before is searched meanwhile. Rows and texts stay, so the sparse index follows as after any group; of
    the dead, which have the vectors of another embedder, nothing is read.
    """
    searcher = held.texts.apply([change for change in changes if not change.switched])
    collection = next(change.collection for change in reversed(changes) if change.switched)
    dimensions = max(1, collection.dimensions)
    rows = held.reader.live_rows(collection.id)
    index, slots = Layers(held.dense, held.streams, dimensions, rows).index(())
    live = within(slots, rows)
    return held.current.next(
        collection=collection.id,
        generation=generation,
        fingerprint=collection.fingerprint,
        dimensions=dimensions,
        rows=slots,
        live=live,
        passages=int(np.count_nonzero(live)),
        index=index,
        searcher=searcher,
        counts=held.streams.counts(rows),
    )
