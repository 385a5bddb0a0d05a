"""A collection at one generation: an immutable value that readers share without a lock."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ragline.errors import Unavailable
from ragline.v1.passage_pb2 import Passage
from services.retriever.dense import Dense, Layered, Mask, State
from services.retriever.filters import Filter
from services.retriever.sparse import Damaged, Searcher
from services.retriever.stores import Allowed, Around, Ranking, Rows, Vectors
from services.retriever.stores._around import around
from services.retriever.stores._exact import Exact, looked_at
from services.retriever.stores._reader import Reader

FEW_ROWS = 256  # up to this many allowed rows always go into the query itself
HITS_A_ROW = 12  # hits that can be gone through in the time that one more row in the query takes; measured
WIDEN = 4  # how much more is asked for where a filter left too few
CACHED_FILTERS = 64
FLOAT_BYTES = 4
EXACT = "exact"

Frequencies = NDArray[np.int32]


@dataclass(frozen=True)
class Chosen:
    """The slots that a filter lets through, as a mask over all."""

    mask: Mask
    count: int

    def __len__(self) -> int:
        return self.count


@dataclass(frozen=True, eq=False)
class Snapshot:
    """See ``View``. Slot ``i`` holds row ``rows[i]``; rows ascend, so a row's slot is found by bisection."""

    reader: Reader
    collection: int  # its id in the record; 0 where nothing was written
    generation: int
    fingerprint: str
    dimensions: int
    rows: Rows
    live: Mask  # of each slot; False from the moment its row is gone
    passages: int  # slots that are live
    index: Dense
    searcher: Searcher | None
    counts: Frequencies  # live passages that hold word piece i
    filters: Filters = field(default_factory=lambda: Filters(CACHED_FILTERS))

    def next(self, **changes: Any) -> Snapshot:
        """The snapshot with ``changes``; what was cached for this one does not carry over."""
        return replace(self, filters=Filters(CACHED_FILTERS), **changes)

    def allowed(self, chosen: Filter | None) -> Chosen | None:
        """The live slots that the filter lets through; None for all."""
        if chosen is None:
            return None
        found = self.filters.get(chosen)
        if found is None:
            found = self.filters.keep(chosen, self.matching(chosen))
        return found

    def matching(self, chosen: Filter) -> Chosen:
        """Asks the record which documents match, and marks their slots."""
        ranges = np.array(self.reader.ranges(self.collection, self.generation, chosen), dtype=np.int64).reshape(
            -1, 2
        )
        edges = np.zeros(len(self.rows) + 1, dtype=np.int64)
        np.add.at(edges, np.searchsorted(self.rows, ranges[:, 0]), 1)
        np.add.at(edges, np.searchsorted(self.rows, ranges.sum(axis=1)), -1)
        mask = (np.cumsum(edges[:-1]) > 0) & self.live
        return Chosen(mask, int(np.count_nonzero(mask)))

    def dense(self, queries: Vectors, depth: int, allowed: Allowed | None) -> list[Ranking]:
        """The nearest passages to each query; see ``View``."""
        everything = self.passages == len(self.rows)
        if allowed is None:
            return self.nearest(queries, depth, None if everything else self.live)
        if self.state().tier == EXACT:
            return self.nearest(queries, depth, mask_of(allowed))
        # What a filter leaves is found by looking at all of it: then its order is to be the true one, too.
        exact = Exact(self.reader, self.collection, self.fingerprint, self.dimensions)
        found = self.nearest(queries, looked_at(depth), mask_of(allowed))
        return [exact.ranked(query, each, depth) for query, each in zip(queries, found, strict=True)]

    def nearest(self, queries: Vectors, depth: int, mask: Mask | None) -> list[Ranking]:
        """What the index finds."""
        return [Ranking(self.rows[slots], scores) for slots, scores in self.index.search(queries, depth, mask)]

    def sparse(self, query: str, depth: int, allowed: Allowed | None) -> Ranking:
        """The best matches of the query's words; asks for more until enough are allowed, or all were seen."""
        if not self.passages or (allowed is not None and not len(allowed)):
            return Ranking(np.empty(0, dtype=np.int64), np.empty(0, dtype=np.float32))
        mask = self.live if allowed is None else mask_of(allowed)
        wanted = depth if allowed is None else int(depth * 1.2 * len(self.rows) / len(allowed))
        while True:
            few = max(FEW_ROWS, min(wanted, len(self.rows)) // HITS_A_ROW)
            if allowed is not None and len(allowed) <= few:
                return Ranking(*self.looked_up(query, depth, self.rows[mask]))
            rows, scores = self.looked_up(query, wanted)
            kept = self.held(rows, mask)
            if np.count_nonzero(kept) >= depth or len(rows) < wanted:
                return Ranking(rows[kept][:depth], scores[kept][:depth])
            wanted *= WIDEN

    def looked_up(self, query: str, depth: int, only: Rows | None = None) -> tuple[Rows, Vectors]:
        """What the sparse index finds; raises Unavailable where it is lost."""
        if self.searcher is None:
            raise Unavailable("The sparse index is lost; it is built again at the next write or start.")
        try:
            return self.searcher.search(query, depth, only)
        except Damaged as fault:
            raise Unavailable(f"The sparse index is damaged ({fault}); a restart builds it again.") from fault

    def held(self, rows: Rows, mask: Mask) -> Mask:
        """Which of ``rows`` are in this snapshot and set in ``mask``."""
        if not len(self.rows):
            return np.zeros(len(rows), dtype=np.bool_)
        slots = np.minimum(np.searchsorted(self.rows, rows), len(self.rows) - 1)
        held: Mask = (self.rows[slots] == rows) & mask[slots]
        return held

    def state(self) -> State:
        """How vectors are searched; an index that does not say is exact."""
        index = self.index
        if isinstance(index, Layered):
            return index.state()
        return State(EXACT, None, len(index) * self.dimensions * FLOAT_BYTES)

    def cosines(self, query: Vectors, rows: Rows) -> Vectors:
        """The cosine of the query with each row, from the vectors in memory."""
        return self.index.products(np.searchsorted(self.rows, rows), query)

    def vectors(self, rows: Rows) -> Vectors:
        """The vectors in memory; see ``View``."""
        return self.index.vectors(np.searchsorted(self.rows, rows))

    def frequencies(self, token_ids: Sequence[int]) -> list[int]:
        """How many live passages hold each word piece; none hold what was never seen."""
        ids = np.asarray(token_ids, dtype=np.int64)
        known = ids < len(self.counts)
        counts = np.zeros(len(ids), dtype=np.int64)
        counts[known] = self.counts[ids[known]]
        return counts.tolist()

    def fetch(self, rows: Sequence[int]) -> Mapping[int, Passage]:
        """The passages as the record has them now."""
        return self.reader.passages(rows) if rows else {}

    @property
    def epoch(self) -> str:
        """The record belongs to one process at a time, so each has an epoch of its own; see ``View``."""
        return self.reader.epoch

    def around(self, rows: Sequence[int], count: int) -> Mapping[int, Around]:
        """The passages with their neighbours as the record has them now."""
        return around(self.reader, rows, count) if rows else {}


def mask_of(allowed: Allowed) -> Mask:
    """The mask behind what ``allowed`` gave."""
    assert isinstance(allowed, Chosen)  # noqa: S101 - no view takes what another store's view made
    return allowed.mask


class Filters:
    """The last filters' masks of one snapshot."""

    def __init__(self, limit: int) -> None:
        self.limit = limit
        self.lock = threading.Lock()
        self.held: OrderedDict[str, Chosen] = OrderedDict()

    def get(self, chosen: Filter) -> Chosen | None:
        """The mask, if it was kept."""
        key = repr(chosen)  # not the filter itself: Python takes 1 and True for equal
        with self.lock:
            if key in self.held:
                self.held.move_to_end(key)
            return self.held.get(key)

    def keep(self, chosen: Filter, mask: Chosen) -> Chosen:
        """Keep the mask, and let the least used go; gives it back."""
        with self.lock:
            self.held[repr(chosen)] = mask
            while len(self.held) > self.limit:
                self.held.popitem(last=False)
        return mask


def counted(counts: Frequencies, added: Sequence[bytes], removed: Sequence[bytes]) -> Frequencies:
    """Word piece counts after passages came and went; blobs are little-endian uint32, distinct in a passage."""
    plus, minus = (np.frombuffer(b"".join(blobs), dtype="<u4") for blobs in (added, removed))
    size = max(len(counts), int(plus.max()) + 1 if len(plus) else 0)
    result = np.zeros(size, dtype=np.int32)
    result[: len(counts)] = counts
    for ids, step in ((plus, 1), (minus, -1)):
        if len(ids) > size // 4:
            result += step * np.bincount(ids, minlength=size).astype(np.int32)
        else:
            np.add.at(result, ids, step)
    return result
