"""A collection's sparse index beside the record: caught up at start, rebuilt whenever in doubt."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import structlog

from services.retriever.sparse import Damaged, Searcher, Sparse, SparseBackend
from services.retriever.stores import Rows
from services.retriever.stores._reader import Reader
from services.retriever.stores._record import Record
from services.retriever.stores._rows import Change, Collection

log = structlog.get_logger(__name__)


class Texts:
    """The index of one collection; the writer's thread alone uses it, readers get its searchers.

    The record notes up to which generation the index is complete, one commit late, so that this costs no
    transaction of its own: a crash makes the index take that commit's changes again, which changes nothing.
    """

    def __init__(self, backend: SparseBackend, folder: Path, collection: int, reader: Reader) -> None:
        self.backend = backend
        self.folder = folder
        self.collection = collection
        self.reader = reader
        self.index: Sparse | None = None

    def open(self, record: Record, collection: Collection, rows: Rows) -> Searcher | None:
        """Make the index hold ``rows``, all that live in the collection: catch up, or rebuild and say so."""
        version, checkpoint = record.checkpoint(self.collection)
        try:
            self.index = self.trusted(version)
            self.catch_up(self.index, checkpoint, collection.generation)
            compare(self.index, rows)
        except Damaged as fault:
            if version or self.folder.exists():
                log.warning(
                    "sparse index rebuilt from the record", collection=collection.key.collection, why=str(fault)
                )
            return self.rebuild()
        return self.index.searcher()

    def trusted(self, version: str) -> Sparse:
        """The index on disk; raises Damaged where it cannot be used as it is."""
        if version != self.backend.version:
            raise Damaged(f"it was made by {version or 'nobody'}, not by {self.backend.version}")
        return self.backend.open(self.folder)

    def catch_up(self, index: Sparse, checkpoint: int, generation: int) -> None:
        """Take over what the record did after ``checkpoint``."""
        if checkpoint == generation:
            return
        dead = [row for rows in self.reader.deaths(self.collection, checkpoint) for row in rows]
        added = [entry for batch in self.reader.entries(self.collection, checkpoint) for entry in batch]
        # The last commit before a crash may or may not have reached the index: what is added goes out first.
        index.apply([*dead, *(entry.row for entry in added)], added)

    def rebuild(self) -> Searcher | None:
        """A new index of all that the record holds; None, logged, where even that fails.

        A crash meanwhile leaves an index that does not hold the record's rows, which the next start sees.
        """
        self.close()
        try:
            self.index = self.backend.build(self.folder, self.reader.entries(self.collection, 0))
            return self.index.searcher()
        except (Damaged, OSError):
            log.exception("sparse index lost; searching vectors only", collection=self.collection)
            self.index = None
            return None

    def apply(self, changes: list[Change]) -> Searcher | None:
        """Follow the record, rebuilding the index if it fails."""
        if self.index is None:
            return self.rebuild()
        removed = [row for change in changes for rows in change.removed for row in rows]
        gone = set(removed)
        added = [entry for change in changes for entry in change.added if entry.row not in gone]
        try:
            self.index.apply(removed, added)
            return self.index.searcher()
        except (Damaged, OSError) as fault:
            log.warning("sparse index rebuilt from the record", collection=self.collection, why=str(fault))
            return self.rebuild()

    def close(self) -> None:
        """Let go of the index; one that cannot be closed in order is left to the next start to check."""
        if self.index is not None:
            index, self.index = self.index, None
            try:
                index.close()
            except (Damaged, OSError) as fault:
                log.warning("sparse index not closed in order", collection=self.collection, why=str(fault))


def compare(index: Sparse, rows: Rows) -> None:
    """Raise Damaged unless the index holds exactly ``rows``."""
    if not np.array_equal(index.rows(), rows):
        raise Damaged("it does not hold the passages that the record holds")
