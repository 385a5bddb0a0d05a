"""A collection in memory: its newest snapshot, and how the next one follows from a group of changes."""

from __future__ import annotations

import weakref
from collections.abc import Sequence
from itertools import groupby
from pathlib import Path

import numpy as np

from services.retriever.dense import DenseBackend
from services.retriever.sparse import SparseBackend
from services.retriever.stores._reader import Reader
from services.retriever.stores._record import Record
from services.retriever.stores._rows import Change, Collection
from services.retriever.stores._snapshot import Snapshot, counted
from services.retriever.stores._texts import Texts

LEAST_DEAD = 1024  # dead slots from which dropping them is considered
DEAD_SHARE = 0.2  # of all slots


def nothing(reader: Reader, dense: DenseBackend) -> Snapshot:
    """The view of a collection that nothing was written to."""
    return Snapshot(
        reader=reader,
        collection=0,
        generation=0,
        fingerprint="",
        dimensions=1,
        rows=np.empty(0, dtype=np.int64),
        live=np.empty(0, dtype=np.bool_),
        passages=0,
        index=dense.empty(1),
        searcher=None,
        counts=np.empty(0, dtype=np.int32),
    )


class Held:
    """Only the writer's thread changes it; readers take ``current``."""

    def __init__(self, reader: Reader, dense: DenseBackend, texts: Texts) -> None:
        self.reader = reader
        self.dense = dense
        self.texts = texts
        self.current = nothing(reader, dense)
        self.alive: weakref.WeakSet[Snapshot] = weakref.WeakSet()  # what some reader may still be at

    @classmethod
    def open(cls, collection: Collection, record: Record, reader: Reader, backends: Backends) -> Held:
        """Build the collection's indexes from the record; its dead rows go once the sparse index knows of them."""
        held = cls(reader, backends.dense, backends.texts(collection, reader))
        held.load(collection, record)
        return held

    def load(self, collection: Collection, record: Record) -> None:
        """Make the snapshot anew from the record."""
        rows = self.reader.live_rows(collection.id)
        searcher = self.texts.open(record, collection, rows)
        checkpoint = (self.texts.backend.version, collection.generation)
        if searcher is not None and record.checkpoint(collection.id) != checkpoint:
            record.set_checkpoint(collection.id, *checkpoint)
        record.purge(collection.id, collection.generation)
        loaded = self.reader.load(collection.id, collection.dimensions)
        empty = np.empty(0, dtype=np.int32)
        self.publish(
            Snapshot(
                reader=self.reader,
                collection=collection.id,
                generation=collection.generation,
                fingerprint=collection.fingerprint,
                dimensions=max(1, collection.dimensions),
                rows=loaded.rows,
                live=np.ones(len(loaded.rows), dtype=np.bool_),
                passages=len(loaded.rows),
                index=self.dense.empty(max(1, collection.dimensions)).added(loaded.vectors),
                searcher=searcher,
                counts=counted(empty, [loaded.token_ids], []),
            )
        )

    def publish(self, snapshot: Snapshot) -> None:
        """What every search that starts from now on sees."""
        self.alive.add(snapshot)
        self.current = snapshot

    def oldest(self) -> int:
        """The oldest generation that a reader may be at."""
        return min(snapshot.generation for snapshot in list(self.alive))

    def follow(self, changes: Sequence[Change], generation: int) -> None:
        """Take over a group's changes, which the record has, and publish them at once."""
        searcher = self.texts.apply(list(changes))
        snapshot = self.current
        for change in joined(changes):
            snapshot = applied(snapshot, change, self.dense)
        snapshot = compacted(snapshot)
        self.publish(snapshot.next(generation=generation, searcher=searcher))


class Backends:
    """Makes the parts of a collection."""

    def __init__(self, folder: Path, sparse: SparseBackend, dense: DenseBackend) -> None:
        self.folder = folder
        self.sparse = sparse
        self.dense = dense

    def texts(self, collection: Collection, reader: Reader) -> Texts:
        """The sparse side; its folder is named by a number, so no name can lead outside."""
        return Texts(self.sparse, self.folder / "sparse" / str(collection.id), collection.id, reader)


def joined(changes: Sequence[Change]) -> list[Change]:
    """The changes as few: one for each run of the same embedder, so that a group copies the arrays once."""
    result = []
    for _, run in groupby(
        changes, key=lambda change: (change.collection.fingerprint, change.collection.dimensions)
    ):
        parts = list(run)
        vectors = [part.vectors for part in parts if part.vectors is not None and len(part.vectors)]
        result.append(
            Change(
                parts[0].collection,
                removed=[rows for part in parts for rows in part.removed],
                removed_tokens=[blob for part in parts for blob in part.removed_tokens],
                added=[entry for part in parts for entry in part.added],
                vectors=np.concatenate(vectors) if vectors else None,
                added_tokens=[blob for part in parts for blob in part.added_tokens],
            )
        )
    return result


def applied(snapshot: Snapshot, change: Change, dense: DenseBackend) -> Snapshot:
    """The snapshot after a change; the generation and the sparse side are the group's matter."""
    index, rows, live, vectors = snapshot.index, snapshot.rows, snapshot.live.copy(), change.vectors
    embedder = (change.collection.fingerprint, max(1, change.collection.dimensions))
    if vectors is not None:
        if embedder != (snapshot.fingerprint, snapshot.dimensions):  # nothing lived, so another embedder may begin
            index, rows, live = dense.empty(embedder[1]), rows[:0], live[:0]
        index = index.added(vectors)
        rows = np.concatenate([rows, [entry.row for entry in change.added]])
        live = np.concatenate([live, np.ones(len(vectors), dtype=np.bool_)])
    for gone in change.removed:  # after the additions: a document may come and go in one group
        live[np.searchsorted(rows, gone.start) : np.searchsorted(rows, gone.stop)] = False
    return snapshot.next(
        collection=change.collection.id,
        fingerprint=embedder[0] if vectors is not None else snapshot.fingerprint,
        dimensions=embedder[1] if vectors is not None else snapshot.dimensions,
        index=index,
        rows=rows,
        live=live,
        passages=int(np.count_nonzero(live)),
        counts=counted(snapshot.counts, change.added_tokens, change.removed_tokens),
    )


def compacted(snapshot: Snapshot) -> Snapshot:
    """The snapshot without most of its dead slots, once they are many."""
    dead = len(snapshot.rows) - snapshot.passages
    if dead < max(LEAST_DEAD, DEAD_SHARE * len(snapshot.rows)):
        return snapshot
    index, kept = snapshot.index.compacted(snapshot.live)
    return snapshot.next(index=index, rows=snapshot.rows[kept], live=snapshot.live[kept])
