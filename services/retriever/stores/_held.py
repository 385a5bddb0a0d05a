"""A collection in memory: its newest snapshot, and how the next one follows from a group of changes."""

from __future__ import annotations

import weakref
from collections.abc import Sequence
from itertools import groupby
from pathlib import Path

import numpy as np
import structlog

from ragline import metrics
from services.retriever.dense import DenseBackend, Layered, LayeredBackend, Sealed
from services.retriever.sparse import SparseBackend
from services.retriever.stores import Rows
from services.retriever.stores._files import Files, Restored
from services.retriever.stores._layers import Layers, within
from services.retriever.stores._reader import Reader
from services.retriever.stores._record import Record
from services.retriever.stores._rows import Change, Collection
from services.retriever.stores._snapshot import Frequencies, Snapshot, counted
from services.retriever.stores._streams import Streams
from services.retriever.stores._texts import Texts

LEAST_DEAD = 1024  # dead slots from which dropping them is considered
DEAD_SHARE = 0.2  # of all slots
PURGED_AT_START = 4096  # dead documents; the others go while the writer is idle

log = structlog.get_logger(__name__)


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

    def __init__(self, reader: Reader, collection: Collection, backends: Backends) -> None:
        self.reader = reader
        self.key = collection.key
        self.dense = backends.dense
        self.texts = backends.texts(collection, reader)
        self.files = backends.files(collection)
        self.streams = Streams(reader, collection.id)
        self.current = nothing(reader, backends.dense)
        self.alive: weakref.WeakSet[Snapshot] = weakref.WeakSet()  # what some reader may still be at

    @classmethod
    def open(cls, collection: Collection, record: Record, reader: Reader, backends: Backends) -> Held:
        """Bring a collection's indexes up to the record."""
        held = cls(reader, collection, backends)
        held.load(collection, record)
        return held

    def load(self, collection: Collection, record: Record) -> None:
        """Make the first snapshot; dead rows may go once the sparse index and the word counts know of them."""
        rows = self.reader.live_rows(collection.id)
        searcher = self.texts.open(record, collection, rows)
        checkpoint = (self.texts.backend.version, collection.generation)
        if searcher is not None and record.checkpoint(collection.id) != checkpoint:
            record.set_checkpoint(collection.id, *checkpoint)
        restored = self.files.load(self.dense, collection) if isinstance(self.dense, LayeredBackend) else None
        counts = self.recounted(rows, restored)
        record.purge(collection.id, collection.generation, PURGED_AT_START)
        dimensions = max(1, collection.dimensions)
        layers = Layers(self.dense, self.streams, dimensions, rows)
        index, slots = layers.index(restored.parts if restored is not None else ())
        live = within(slots, rows)
        self.publish(
            Snapshot(
                reader=self.reader,
                collection=collection.id,
                generation=collection.generation,
                fingerprint=collection.fingerprint,
                dimensions=dimensions,
                rows=slots,
                live=live,
                passages=int(np.count_nonzero(live)),
                index=index,
                searcher=searcher,
                counts=counts,
            )
        )

    def recounted(self, rows: Rows, restored: Restored | None) -> Frequencies:
        """Word piece counts of ``rows``: those of the files and what changed since, or all counted anew."""
        if restored is None:
            return self.streams.counts(rows)
        counts = restored.counts
        for _, blob in self.streams.words(rows[~within(rows, restored.counted)]):
            counts = counted(counts, [blob], [])
        gone, found = restored.counted[~within(restored.counted, rows)], 0
        for number, blob in self.streams.words(gone):
            counts = counted(counts, [], [blob])
            found += number
        # What died may have been purged before the files were written again.
        return counts if found == len(gone) else self.streams.counts(rows)

    def replace(self, seen: Snapshot, ends: tuple[int, int], part: Sealed | None, rows: Rows) -> bool:
        """Put a part over ``rows``, if any, in place of the slots from the first to the last row of ``ends``.

        It was built by what was ``seen``. Rows that were added or died meanwhile stay as they are now. False:
        the collection changed too much, and nothing was done. The writer's thread calls it.
        """
        snapshot, index = self.current, self.current.index
        start = int(np.searchsorted(snapshot.rows, ends[0]))
        stop = int(np.searchsorted(snapshot.rows, ends[1], side="right"))
        living = snapshot.rows[start:stop][snapshot.live[start:stop]]
        embedder = (seen.fingerprint, seen.dimensions)
        if embedder != (snapshot.fingerprint, snapshot.dimensions) or not isinstance(index, Layered):
            return False
        if start == stop or not within(living, rows).all():
            return False
        if not len(living):
            part, rows = None, rows[:0]
        self.publish(
            snapshot.next(
                index=index.replaced(start, stop, part),
                rows=np.concatenate([snapshot.rows[:start], rows, snapshot.rows[stop:]]),
                live=np.concatenate([snapshot.live[:start], within(rows, living), snapshot.live[stop:]]),
            )
        )
        return True

    def put_away(self) -> None:
        """Bring the files up to date for the next start, which can do without."""
        try:
            self.files.save(self.current)
        except OSError as fault:
            log.warning("dense index not saved", collection=self.key.collection, why=str(fault))

    def note(self) -> None:
        """Show how the vectors are searched."""
        state = self.current.state()
        names, labels = ("tenant", "collection"), (self.key.tenant, self.key.collection)
        recall = metrics.gauge("ragline_dense_recall", "Recall@10 of vector search, by trial; 1: exact.", names)
        recall.labels(*labels).set(1.0 if state.recall is None else state.recall)
        size = metrics.gauge("ragline_dense_bytes", "Memory of vectors and their index.", names)
        size.labels(*labels).set(state.bytes)

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

    def files(self, collection: Collection) -> Files:
        """Where vectors are kept, in a folder named likewise."""
        return Files(self.folder / "dense" / str(collection.id))


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
    if kept.all():
        return snapshot
    return snapshot.next(index=index, rows=snapshot.rows[kept], live=snapshot.live[kept])
