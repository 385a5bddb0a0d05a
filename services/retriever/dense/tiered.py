"""Vectors in tiers: the newest exact, more of them as SQ8 codes, many under a graph (HNSW) that was measured."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from services.retriever.dense import Job, Mask, Parts, Read, Sealed, Slots, State, Vectors
from services.retriever.dense._graph import Work, built
from services.retriever.dense._plan import Policy, Size, planned
from services.retriever.dense._segments import HNSW, SQ8, Bits, Segment, coded, opened
from services.retriever.dense.flat import FlatIndex, best

EXACT = "exact"
SEALED_TAILS = 8  # of which a segment of codes holds at most so many: what came in at once is coded in pieces
DEAD_SHARE = 0.3
SCAN_FACTOR = 40.0  # measured with 384 dimensions: 45 ns a row that is scanned, 2 us a node of the graph
KEPT_MASKS = 8
FLOAT_BYTES = 4


def load(
    parts: Parts,
    *,
    exact_rows: int = 8192,
    hnsw_rows: int = 50_000,
    recall: float = 0.97,
    merge_share: float = 0.5,
    settle_s: float = 20.0,
    build_threads: int = 0,
) -> Tiered:
    """The back end.

    ``exact_rows`` newest vectors stay as they are, then they become SQ8 codes; a collection of ``hnsw_rows`` or
    more gets graphs, built by ``build_threads`` threads (0: half of all) and searched deep enough for ``recall``
    at 10. ``merge_share``: see ``Policy``; a tenth of it counts after ``settle_s`` without a write.
    """
    policy = Policy(hnsw_rows, merge_share, merge_share / 10, DEAD_SHARE, max(1, exact_rows // 4))
    work = Work(build_threads or max(1, parts.threads // 2), recall, SCAN_FACTOR)
    return Tiered(exact_rows, policy, work, settle_s)


class Tiered:
    """Makes tiered indexes; see ``LayeredBackend``."""

    def __init__(self, exact_rows: int, policy: Policy, work: Work, settle_s: float) -> None:
        self.exact_rows = exact_rows
        self.sq8_rows = SEALED_TAILS * exact_rows
        self.policy = policy
        self.work = work
        self.settle_s = settle_s

    def empty(self, dimensions: int) -> TieredIndex:
        """An index without vectors."""
        return TieredIndex(self, (), FlatIndex((), dimensions, max(1, self.exact_rows)))

    def build(
        self, kind: str, dimensions: int, rows: Slots, read: Read, stopping: Callable[[], bool]
    ) -> tuple[Segment, Slots]:
        """A segment over the vectors of ``rows``; raises Stopped."""
        return built(kind, dimensions, rows, read, stopping, self.work)

    def read(self, file: Path, name: str, header: dict[str, Any]) -> Segment:
        """The segment in ``file``; see ``LayeredBackend``."""
        return opened(file, name, header, self.work.scan_factor)

    def joined(self, dimensions: int, parts: Iterator[Sealed | Vectors]) -> TieredIndex:
        """An index of segments and blocks of vectors, in order."""
        index = self.empty(dimensions)
        for part in parts:
            index = index.added(part) if isinstance(part, np.ndarray) else index.followed(part)
        return index

    def sealed(self, vectors: Vectors) -> list[Segment]:
        """Segments of codes over the vectors."""
        return [coded(vectors[at : at + self.sq8_rows]) for at in range(0, len(vectors), self.sq8_rows)]


class TieredIndex:
    """Sealed segments in slot order, then a tail of exact vectors, which is itself copied on write."""

    def __init__(self, backend: Tiered, segments: Sequence[Segment], tail: FlatIndex) -> None:
        self.backend = backend
        self.segments = tuple(segments)
        self.tail = tail
        self.dimensions = tail.dimensions
        self.starts = np.cumsum([0, *(len(segment) for segment in self.segments)])
        self.masks = Masks(self.starts)

    def __len__(self) -> int:
        return int(self.starts[-1]) + len(self.tail)

    def added(self, vectors: Vectors) -> TieredIndex:
        """An index with ``vectors`` in the next slots; a tail that has grown enough becomes codes."""
        if len(self.tail) + len(vectors) < self.backend.exact_rows:
            return TieredIndex(self.backend, self.segments, self.tail.added(vectors))
        rows = np.concatenate([whole(self.tail), vectors])
        return TieredIndex(self.backend, [*self.segments, *self.backend.sealed(rows)], self.fresh())

    def fresh(self, vectors: Vectors | None = None) -> FlatIndex:
        """A tail of these vectors alone."""
        tail = FlatIndex((), self.dimensions, self.tail.segment_rows)
        return tail if vectors is None or not len(vectors) else tail.added(vectors)

    def followed(self, part: Sealed) -> TieredIndex:
        """An index with a sealed segment in the next slots."""
        assert isinstance(part, Segment)  # noqa: S101 - this back end's own
        before = self.backend.sealed(whole(self.tail))
        return TieredIndex(self.backend, [*self.segments, *before, part], self.fresh())

    def compacted(self, live: Mask) -> tuple[TieredIndex, Mask]:
        """Drops dead slots where codes or vectors need only be copied; the rest is for ``job``; see ``Dense``."""
        kept = np.ones(len(live), dtype=np.bool_)
        segments: list[Segment] = []
        for start, segment in zip(self.starts, self.segments, strict=False):
            part = slice(start, start + len(segment))
            count = np.count_nonzero(live[part])
            many = count <= (1 - self.backend.policy.dead_share) * len(segment)
            if count and not (many and segment.kind == SQ8):
                segments.append(segment)
                continue
            kept[part] = live[part]
            if count:
                segments.append(segment.without(live[part]))
        tail, kept[self.starts[-1] :] = self.tail.compacted(live[self.starts[-1] :])
        return TieredIndex(self.backend, segments, tail), kept

    def search(self, queries: Vectors, depth: int, allowed: Mask | None) -> list[tuple[Slots, Vectors]]:
        """Each segment by its own way, the tail exactly, and the best of all; see ``Dense``."""
        queries = np.ascontiguousarray(queries, dtype=np.float32)
        parts = None if allowed is None else self.masks.parts(allowed)
        scores: list[Vectors] = []
        slots: list[Slots] = []
        for at, segment in enumerate(self.segments):
            bits, count = (None, len(segment)) if parts is None else parts[at]
            if count:
                score, slot = segment.search(queries, depth, bits, count)
                scores.append(score)
                slots.append(np.where(slot < 0, -1, slot + self.starts[at]))
        if len(self.tail):
            found = self.tail.search(queries, depth, None if allowed is None else allowed[self.starts[-1] :])
            if not scores:
                return [(slot + int(self.starts[-1]), score) for slot, score in found]
            return [
                best(
                    np.concatenate([*(part[i] for part in scores), score]),
                    np.concatenate([*(part[i] for part in slots), slot + self.starts[-1]]),
                    depth,
                )
                for i, (slot, score) in enumerate(found)
            ]
        if not scores:
            return [(np.empty(0, dtype=np.int64), np.empty(0, dtype=np.float32)) for _ in queries]
        rows = zip(np.hstack(scores), np.hstack(slots), strict=True)
        return [best(score, slot, depth) for score, slot in rows]

    def vectors(self, slots: Slots) -> Vectors:
        """The vectors in ``slots``, or what their codes stand for; see ``Dense``."""
        result = np.empty((len(slots), self.dimensions), dtype=np.float32)
        owner = np.searchsorted(self.starts, slots, side="right") - 1
        for at in np.unique(owner):
            mine = owner == at
            segment = self.segments[at] if at < len(self.segments) else self.tail
            result[mine] = segment.vectors(slots[mine] - self.starts[at])
        return result

    def products(self, slots: Slots, query: Vectors) -> Vectors:
        """Inner products with the vectors in ``slots``, or with what their codes stand for; see ``Dense``."""
        if len(self.segments) == 1 and not len(self.tail):
            return self.segments[0].products(slots, query)
        result = np.empty(len(slots), dtype=np.float32)
        owner = np.searchsorted(self.starts, slots, side="right") - 1
        for at in np.unique(owner):
            mine = owner == at
            segment = self.segments[at] if at < len(self.segments) else self.tail
            result[mine] = segment.products(slots[mine] - self.starts[at], query)
        return result

    def state(self) -> State:
        """The largest tier in use, the recall measured (that of what is scanned counts as 1), bytes of memory."""
        kinds = {segment.kind for segment in self.segments}
        size = sum(segment.bytes for segment in self.segments) + len(self.tail) * self.dimensions * FLOAT_BYTES
        recall = None
        if HNSW in kinds:
            weights = [len(segment) for segment in self.segments] + [len(self.tail)]
            values = [1.0 if each.recall is None else each.recall for each in self.segments] + [1.0]
            recall = float(np.average(values, weights=weights))
        return State(HNSW if HNSW in kinds else SQ8 if kinds else EXACT, recall, size)

    def parts(self) -> Sequence[tuple[int, Segment]]:
        """The sealed segments and the first slot of each."""
        return [(int(start), segment) for start, segment in zip(self.starts, self.segments, strict=False)]

    def job(self, live: Mask, quiet: bool) -> Job | None:
        """What the policy wants built next; see ``Layered``."""
        sizes = [
            Size(segment.kind, len(segment), int(np.count_nonzero(live[start : start + len(segment)])))
            for start, segment in self.parts()
        ]
        tail = int(np.count_nonzero(live[self.starts[-1] :]))
        found = planned(self.backend.policy, sizes, tail, quiet)
        if found is None:
            return None
        first, stop, kind = found
        end = len(self) if stop > len(sizes) else int(self.starts[stop])
        return Job(int(self.starts[first]), end, kind)

    def replaced(self, start: int, stop: int, part: Sealed | None) -> TieredIndex:
        """The index with a segment in place of some slots; raises ValueError where it would cut a graph in two."""
        new = [part] if isinstance(part, Segment) else []
        segments = [*self.cut(0, start), *new, *self.cut(stop, len(self))]
        tail = self.tail
        if stop > self.starts[-1]:
            tail = self.fresh(whole(self.tail)[stop - int(self.starts[-1]) :])
        return TieredIndex(self.backend, [segment for segment in segments if len(segment)], tail)

    def cut(self, start: int, stop: int) -> Iterator[Segment]:
        """The sealed segments' parts between two slots."""
        for first, segment in self.parts():
            low, high = max(start - first, 0), min(stop - first, len(segment))
            if (low, high) == (0, len(segment)):
                yield segment
            elif low < high:
                if segment.kind == HNSW:
                    raise ValueError("A graph cannot be cut.")
                kept = np.zeros(len(segment), dtype=np.bool_)
                kept[low:high] = True
                yield segment.without(kept)


class Masks:
    """The last masks of allowed slots, cut and packed for each segment: the same one comes with many searches."""

    def __init__(self, starts: Slots) -> None:
        self.starts = starts
        self.kept: dict[int, tuple[Mask, list[tuple[Bits | None, int]]]] = {}

    def parts(self, mask: Mask) -> list[tuple[Bits | None, int]]:
        """For each segment the bits, None where all are set, and how many are."""
        kept = self.kept.get(id(mask))  # the entry holds the mask, so its id stays its own
        if kept is not None:
            return kept[1]
        made = []
        for start, stop in zip(self.starts, self.starts[1:], strict=False):
            count = int(np.count_nonzero(mask[start:stop]))
            every = count == stop - start
            made.append((None if every else np.packbits(mask[start:stop], bitorder="little"), count))
        # A race of two threads costs a mask that is packed twice, no more.
        if len(self.kept) >= KEPT_MASKS:
            self.kept = {}
        self.kept[id(mask)] = (mask, made)
        return made


def whole(tail: FlatIndex) -> Vectors:
    """All vectors of a tail."""
    return tail.vectors(np.arange(len(tail)))
