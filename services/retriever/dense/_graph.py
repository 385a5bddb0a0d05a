"""Builds a graph over SQ8 codes, and finds by trial how deep it must be searched for the recall that is wanted."""

from __future__ import annotations

import contextlib
import os
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Executor, ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import numpy as np
import structlog

from services.retriever.dense import Read, Slots, Stopped, Vectors
from services.retriever.dense._segments import (
    HNSW,
    Segment,
    alone,
    crowd,
    empty_codes,
    empty_graph,
    native,
)

TRAINED_ROWS = 16_384  # that the range of each dimension is taken from
BLOCK_ROWS = 4096  # added at a time: what stopping the service may have to wait for
TRIED = 256  # queries of the trial
NEAREST = 10
NOISE = 1.3  # of a vector's length: the cosine of a question with what answers it is about 0.6, as measured
NICE = 10  # of the threads that build: searches go first
LADDER = (32, 48, 64, 96, 128, 192, 256, 384, 512, 768, 1024, 1536, 2048)

log = structlog.get_logger(__name__)


@dataclass(frozen=True)
class Work:
    """How segments are built: threads, the recall that a graph must reach, when a scan beats it."""

    threads: int
    recall: float
    scan_factor: float


class Trial:
    """Questions near some of the collection's own vectors, and what is truly nearest to each, bar itself."""

    def __init__(self, rows: Slots, vectors: Vectors) -> None:
        dice = np.random.default_rng(len(rows))
        noise = dice.standard_normal(vectors.shape).astype(np.float32)
        lengths = np.maximum(np.linalg.norm(noise, axis=1, keepdims=True), 1e-12)
        queries = vectors + NOISE * np.linalg.norm(vectors, axis=1, keepdims=True) * noise / lengths
        self.rows = rows
        self.queries: Vectors = np.ascontiguousarray(queries, dtype=np.float32)
        self.scores = np.full((len(rows), NEAREST), -np.inf, dtype=np.float32)
        self.slots = np.full((len(rows), NEAREST), -1, dtype=np.int64)
        self.own = np.full(len(rows), -1, dtype=np.int64)

    def look(self, rows: Slots, vectors: Vectors, first: int) -> None:
        """Take a block of the index into account; ``first`` is its first slot."""
        scores = self.queries @ vectors.T
        mine = np.flatnonzero(np.isin(self.rows, rows))
        at = np.searchsorted(rows, self.rows[mine])
        scores[mine, at] = -np.inf
        self.own[mine] = first + at
        slots = np.broadcast_to(np.arange(first, first + len(rows)), scores.shape)
        scores, slots = np.hstack([self.scores, scores]), np.hstack([self.slots, slots])
        best = np.argpartition(scores, -NEAREST, axis=1)[:, -NEAREST:]
        self.scores = np.take_along_axis(scores, best, axis=1)
        self.slots = np.take_along_axis(slots, best, axis=1)

    def recall(self, found: Slots) -> tuple[float, float]:
        """The share of the truly nearest among ``found`` (queries, NEAREST + 1), which may name each itself.

        And how far off that may be, by chance: its standard error.
        """
        shares = []
        for true, own, slots in zip(self.slots, self.own, found, strict=True):
            nearest = {int(slot) for slot in true if slot >= 0}
            others = [slot for slot in slots.tolist() if slot not in (own, -1)][:NEAREST]
            shares.append(len(nearest.intersection(others)) / len(nearest) if nearest else 1.0)
        if not shares:
            return 1.0, 0.0
        return float(np.mean(shares)), float(np.std(shares) / len(shares) ** 0.5)

    def depth(self, index: Any, target: float) -> tuple[int, float]:
        """The smallest ef of the ladder that surely reaches the recall ``target``, or the largest; its recall."""
        alone()
        ef, recall = LADDER[0], 0.0
        for ef in LADDER:
            options = native.SearchParametersHNSW(efSearch=ef)
            found = index.search(self.queries, NEAREST + 1, params=options)[1]
            recall, error = self.recall(found)
            if recall - error >= target or recall == 1:
                return ef, recall
        if recall < target:
            log.warning("no depth of search reaches the recall wanted", recall=round(recall, 4), wanted=target)
        return ef, recall


def built(
    kind: str, dimensions: int, rows: Slots, read: Read, stopping: Callable[[], bool], work: Work
) -> tuple[Segment, Slots]:
    """A segment over the vectors of ``rows``; see ``LayeredBackend``."""
    # In a thread of its own, which does nothing else: one of low priority must not hold Python's lock for long.
    with ThreadPoolExecutor(1, "retriever-build", lowered, (work.threads,)) as low:
        dice = np.random.default_rng(len(rows))
        picked = np.sort(dice.choice(rows, min(len(rows), TRAINED_ROWS), replace=False))
        sample = [*read(picked)] or [(rows[:0], np.empty((0, dimensions), dtype=np.float32))]
        known, vectors = (np.concatenate(part) for part in zip(*sample, strict=True))
        index = empty_graph(dimensions) if kind == HNSW else empty_codes(dimensions)
        # An index of nothing is possible: everything may have been deleted meanwhile.
        low.submit(index.train, vectors if len(vectors) else np.zeros((1, dimensions), dtype=np.float32)).result()
        tried = np.sort(dice.choice(len(known), min(len(known), TRIED), replace=False))
        trial = Trial(known[tried], vectors[tried])
        held = filled(index, blocks(read(rows), stopping), low, trial if kind == HNSW else None)
        if kind != HNSW:
            return Segment(kind, index), held
        ef, recall = low.submit(trial.depth, index, work.recall).result()
        return Segment(kind, index, ef, recall, work.scan_factor), held


def filled(index: Any, found: Iterator[tuple[Slots, Vectors]], low: Executor, trial: Trial | None) -> Slots:
    """The rows that were put into the index, which the trial was told of."""
    held: list[Slots] = [np.empty(0, dtype=np.int64)]
    for rows, vectors in found:
        first = int(index.ntotal)
        adding = low.submit(index.add, vectors)
        if trial is not None:
            trial.look(rows, vectors, first)
        adding.result()
        held.append(rows)
    return np.concatenate(held)


def lowered(threads: int) -> None:
    """Let this thread and those that it starts come after all others."""
    crowd(threads)
    with contextlib.suppress(OSError):  # not allowed: then they are no lower
        os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), NICE)


def blocks(
    found: Iterator[tuple[Slots, Vectors]], stopping: Callable[[], bool]
) -> Iterator[tuple[Slots, Vectors]]:
    """What is read, in blocks of bounded size; raises Stopped between two."""
    for rows, vectors in found:
        for start in range(0, len(rows), BLOCK_ROWS):
            if stopping():
                raise Stopped
            part = slice(start, start + BLOCK_ROWS)
            yield rows[part], np.ascontiguousarray(vectors[part], dtype=np.float32)
