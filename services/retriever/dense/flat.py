"""Exact inner-product search over FAISS flat segments, merged as they grow."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from typing import Any

import faiss
import numpy as np

from services.retriever.dense import Mask, Parts, Slots, Vectors

SEGMENT_ROWS = 1 << 17  # a sealed segment is never copied again; 131,072 x 384 floats take about 0.1 s to merge
BLOCK_ROWS = 8192  # of a batch's matrix product: its scores stay in the processor's cache
BATCH = 3  # queries from which one matrix product beats a scan a query (at 100k x 384: 2x at 4, 10x at 64)
DEAD_SHARE = 0.3  # of a segment, from which copying the living ones pays

_thread = threading.local()


def load(parts: Parts, *, segment_rows: int = SEGMENT_ROWS) -> Flat:
    """The back end; ``segment_rows`` is the size from which a segment is sealed."""
    return Flat(parts.threads, segment_rows)


class Flat:
    """Makes empty flat indexes."""

    def __init__(self, threads: int, segment_rows: int) -> None:
        self.threads = threads
        self.segment_rows = segment_rows

    def empty(self, dimensions: int) -> FlatIndex:
        """An index without vectors."""
        return FlatIndex((), dimensions, self.segment_rows)


class FlatIndex:
    """Segments in slot order: the old ones large and sealed, the newest small and copied on write.

    Two neighbours merge when the newer is no smaller than half the older, as a log-structured merge tree
    does (O'Neil et al., 1996), so ``n`` single adds copy O(n log n) vectors in all.
    """

    def __init__(self, segments: Sequence[Any], dimensions: int, segment_rows: int) -> None:
        self.segments = tuple(segments)
        self.dimensions = dimensions
        self.segment_rows = segment_rows
        self.starts = np.cumsum([0, *(segment.ntotal for segment in self.segments)])

    def __len__(self) -> int:
        return int(self.starts[-1])

    def added(self, vectors: Vectors) -> FlatIndex:
        """An index with ``vectors`` in the next slots; see ``Dense``."""
        segments = [*self.segments, *self.built([vectors])] if len(vectors) else list(self.segments)
        return FlatIndex(self.merged(segments), self.dimensions, self.segment_rows)

    def built(self, blocks: Sequence[Vectors]) -> list[Any]:
        """Segments over the rows of ``blocks``, each block in pieces of at most ``segment_rows``."""
        segments = []
        for block in blocks:
            for start in range(0, len(block), self.segment_rows):
                segment = faiss.IndexFlatIP(self.dimensions)
                segment.add(np.ascontiguousarray(block[start : start + self.segment_rows], dtype=np.float32))
                segments.append(segment)
        return segments

    def merged(self, segments: list[Any]) -> list[Any]:
        """``segments`` with the newest ones joined while they are of like size and not sealed."""
        while len(segments) > 1:
            older, newer = segments[-2:]
            if 2 * newer.ntotal < older.ntotal or older.ntotal + newer.ntotal > self.segment_rows:
                break
            joined = faiss.IndexFlatIP(self.dimensions)
            joined.add(stored(older))
            joined.add(stored(newer))
            segments[-2:] = [joined]
        return segments

    def compacted(self, live: Mask) -> tuple[FlatIndex, Mask]:
        """Copies the living rows of the segments in which many are dead; see ``Dense``."""
        kept = np.ones(len(live), dtype=np.bool_)
        segments: list[Any] = []
        for start, segment in zip(self.starts, self.segments, strict=False):
            alive = live[start : start + segment.ntotal]
            if np.count_nonzero(alive) > (1 - DEAD_SHARE) * len(alive):
                segments.append(segment)
                continue
            kept[start : start + segment.ntotal] = alive
            segments = self.merged([*segments, *self.built([stored(segment)[alive]])])
        return FlatIndex(segments, self.dimensions, self.segment_rows), kept

    def search(self, queries: Vectors, depth: int, allowed: Mask | None) -> list[tuple[Slots, Vectors]]:
        """A scan a query by FAISS, or blocks of one matrix product for a batch; see ``Dense``."""
        queries = np.ascontiguousarray(queries, dtype=np.float32)
        if len(queries) >= BATCH:
            return self.multiplied(queries, depth, allowed)
        if getattr(_thread, "omp", None) != 1:
            faiss.omp_set_num_threads(1)  # a setting of each thread: more makes single queries slower
            _thread.omp = 1
        return [best(*pair, depth) for pair in self.scanned(queries, depth, allowed)]

    def scanned(self, queries: Vectors, depth: int, allowed: Mask | None) -> list[tuple[Vectors, Slots]]:
        """Scores and slots (unsorted over segments) of each query."""
        scores: list[Vectors] = [np.empty((len(queries), 0), dtype=np.float32)]
        slots: list[Slots] = [np.empty((len(queries), 0), dtype=np.int64)]
        for start, segment in zip(self.starts, self.segments, strict=False):
            part = None if allowed is None else allowed[start : start + segment.ntotal]
            if part is not None and not part.any():
                continue
            options = None if part is None or part.all() else selected(part)
            score, slot = segment.search(queries, min(depth, segment.ntotal), params=options)
            scores.append(score)
            slots.append(np.where(slot < 0, -1, slot + start))
        return list(zip(np.hstack(scores), np.hstack(slots), strict=True))

    def multiplied(self, queries: Vectors, depth: int, allowed: Mask | None) -> list[tuple[Slots, Vectors]]:
        """The same result as ``scanned``, a block of rows times all queries at once."""
        scores = np.full((len(queries), depth), -np.inf, dtype=np.float32)
        slots = np.full((len(queries), depth), -1, dtype=np.int64)
        for start, segment in zip(self.starts, self.segments, strict=False):
            rows = stored(segment)
            for first in range(0, len(rows), BLOCK_ROWS):
                block = rows[first : first + BLOCK_ROWS]
                at = int(start) + first
                part = np.ascontiguousarray(
                    (block @ queries.T).T
                )  # this way round is the faster one for few queries
                if allowed is not None:
                    part[:, ~allowed[at : at + len(block)]] = -np.inf
                scores, slots = kept_best(scores, slots, part, at)
        return [best(score, slot, depth) for score, slot in zip(scores, slots, strict=True)]

    def vectors(self, slots: Slots) -> Vectors:
        """The vectors in ``slots``; see ``Dense``."""
        result = np.empty((len(slots), self.dimensions), dtype=np.float32)
        owner = np.searchsorted(self.starts, slots, side="right") - 1
        for index in np.unique(owner):
            mine = owner == index
            result[mine] = stored(self.segments[index])[slots[mine] - self.starts[index]]
        return result

    def products(self, slots: Slots, query: Vectors) -> Vectors:
        """Inner products with the vectors in ``slots``; see ``Dense``."""
        products: Vectors = self.vectors(slots) @ query
        return products


def stored(segment: Any) -> Vectors:
    """The segment's own rows (n, dimensions), without a copy; valid while the segment lives."""
    rows = faiss.rev_swig_ptr(segment.get_xb(), segment.ntotal * segment.d)
    return np.asarray(rows, dtype=np.float32).reshape(segment.ntotal, segment.d)


def selected(allowed: Mask) -> Any:
    """Search options that let FAISS see the allowed positions only."""
    bits = np.packbits(allowed, bitorder="little")
    native: Any = faiss  # its stubs know the C++ signatures only
    return native.SearchParameters(sel=native.IDSelectorBitmap(bits))


def kept_best(scores: Vectors, slots: Slots, part: Vectors, at: int) -> tuple[Vectors, Slots]:
    """The best of what is held and of a block's scores (queries, rows) whose first row is slot ``at``."""
    depth = scores.shape[1]
    if part.shape[1] > depth:
        top = np.argpartition(part, -depth, axis=1)[:, -depth:]
        part = np.take_along_axis(part, top, axis=1)
    else:
        top = np.broadcast_to(np.arange(part.shape[1]), part.shape)
    scores = np.hstack([scores, part])
    slots = np.hstack([slots, top + at])
    order = np.argpartition(scores, -depth, axis=1)[:, -depth:]
    return np.take_along_axis(scores, order, axis=1), np.take_along_axis(slots, order, axis=1)


def best(scores: Vectors, slots: Slots, depth: int) -> tuple[Slots, Vectors]:
    """The ``depth`` best slots, best first, ties by slot; places that nothing filled are dropped."""
    filled = (slots >= 0) & np.isfinite(scores)
    scores, slots = scores[filled], slots[filled]
    order = np.lexsort((slots, -scores))[:depth]
    return slots[order], scores[order]
