"""A collection in memory after its embedder changed: the dense side anew from the record, the rest as it was."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np

from services.retriever.stores._held import Held
from services.retriever.stores._reader import Loaded, Reader
from services.retriever.stores._rows import Change, Collection
from services.retriever.stores._snapshot import Snapshot, counted

BATCH_ROWS = 65_536  # vectors that are in memory twice at a time

LIVING = (
    "SELECT v.row, v.vector, v.token_ids FROM documents d JOIN vectors v "
    "ON v.row >= d.first_row AND v.row < d.first_row + d.passages "
    "WHERE d.collection = ? AND d.died IS NULL ORDER BY d.first_row, v.row"
)


def turned(held: Held, changes: Sequence[Change], generation: int) -> Snapshot:
    """The snapshot after a group in which the collection switched; the record has all of it (writer's thread).

    The one before is searched meanwhile. Rows and texts stay, so the sparse index follows as after any group.
    """
    searcher = held.texts.apply([change for change in changes if not change.switched])
    collection = next(change.collection for change in reversed(changes) if change.switched)
    dimensions = max(1, collection.dimensions)
    index, rows, tokens = held.dense.empty(dimensions), [np.empty(0, dtype=np.int64)], []
    for part in living(held.reader, collection):
        index = index.added(part.vectors)
        rows.append(part.rows)
        tokens.append(part.token_ids)
    every = np.concatenate(rows)
    return held.current.next(
        collection=collection.id,
        generation=generation,
        fingerprint=collection.fingerprint,
        dimensions=dimensions,
        rows=every,
        live=np.ones(len(every), dtype=np.bool_),
        passages=len(every),
        index=index,
        searcher=searcher,
        counts=counted(np.empty(0, dtype=np.int32), tokens, []),
    )


def living(reader: Reader, collection: Collection) -> Iterator[Loaded]:
    """Vectors and word pieces of all that lives, by row, some at a time; what is dead has another's vectors."""
    found = reader.db.execute(LIVING, (collection.id,))
    while batch := found.fetchmany(BATCH_ROWS):
        joined = b"".join([vector for _, vector, _ in batch])
        yield Loaded(
            np.array([row for row, _, _ in batch], dtype=np.int64),
            np.frombuffer(joined, dtype="<f4").reshape(len(batch), -1).astype(np.float32),
            b"".join([ids for _, _, ids in batch]),
        )
