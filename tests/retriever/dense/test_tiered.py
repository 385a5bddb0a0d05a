"""Vectors in tiers: found as by a full sort, whatever was added, deleted, sealed, built and put in place."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from services.retriever import dense
from services.retriever.dense import DenseBackend, Layered, LayeredBackend, Read, Slots, Stopped, flat, tiered
from services.retriever.dense._graph import NEAREST, Trial
from services.retriever.dense._plan import Policy, Size, planned
from services.retriever.dense._segments import HNSW, SQ8
from tests.retriever.parts import tiers

DIMENSIONS = 8
Floats = NDArray[np.float32]
BACKENDS: dict[str, Callable[[], DenseBackend]] = {
    "flat": lambda: flat.load(dense.Parts(1), segment_rows=32),
    "tiered": tiers,
    "scanning": lambda: tiered.load(dense.Parts(1), exact_rows=16, hnsw_rows=60),
}
CODED = 0.02  # what eight bits a number may change of a score, at most, with so few of them


def vectors(count: int, seed: int = 0, dimensions: int = DIMENSIONS) -> Floats:
    made = np.random.default_rng(seed).standard_normal((count, dimensions)).astype(np.float32)
    unit: Floats = made / np.linalg.norm(made, axis=1, keepdims=True)
    return unit


def reading(rows: Floats) -> Read:
    """Reads vectors, 7 at a time, by their place in ``rows``."""

    def read(wanted: Slots) -> Iterator[tuple[Slots, Floats]]:
        for start in range(0, len(wanted), 7):
            part = wanted[start : start + 7]
            yield part, rows[part]

    return read


class Collection:
    """An index and what it should hold: ``rows`` are the numbers of its slots."""

    def __init__(self, backend: DenseBackend) -> None:
        self.backend = backend
        self.index = backend.empty(DIMENSIONS)
        self.stored = np.empty((0, DIMENSIONS), dtype=np.float32)
        self.rows = np.empty(0, dtype=np.int64)
        self.live = np.empty(0, dtype=np.bool_)

    def add(self, count: int, seed: int) -> None:
        more = vectors(count, seed)
        self.rows = np.r_[self.rows, np.arange(len(self.stored), len(self.stored) + count)]
        self.live = np.r_[self.live, np.ones(count, dtype=np.bool_)]
        self.stored = np.concatenate([self.stored, more])
        self.index = self.index.added(more)

    def kill(self, share: float, seed: int) -> None:
        self.live = self.live & (np.random.default_rng(seed).random(len(self.live)) >= share)

    def compact(self) -> None:
        self.index, kept = self.index.compacted(self.live)
        assert not (self.live & ~kept).any()
        self.rows, self.live = self.rows[kept], self.live[kept]

    def build(self, quiet: bool) -> None:
        """One job, the dead left out, as the store does it."""
        if not isinstance(self.index, Layered) or not isinstance(self.backend, LayeredBackend):
            return
        job = self.index.job(self.live, quiet)
        if job is None:
            return
        part = slice(job.start, job.stop)
        wanted = self.rows[part][self.live[part]]
        built, kept = self.backend.build(job.kind, DIMENSIONS, wanted, reading(self.stored), lambda: False)
        np.testing.assert_array_equal(kept, wanted)
        self.index = self.index.replaced(job.start, job.stop, built)
        self.rows = np.concatenate([self.rows[: job.start], kept, self.rows[job.stop :]])
        self.live = np.concatenate(
            [self.live[: job.start], np.ones(len(kept), dtype=np.bool_), self.live[job.stop :]]
        )

    def check(self, depth: int, queries: int, share: float, seed: int) -> None:
        """As many as there are, none that is not allowed, and each as near as the truly nearest of its rank."""
        assert len(self.index) == len(self.rows)
        allowed = self.live & (np.random.default_rng(seed).random(len(self.live)) < share)
        for query, (slots, scores) in zip(
            vectors(queries, seed), self.index.search(vectors(queries, seed), depth, allowed), strict=True
        ):
            assert len(slots) == min(depth, np.count_nonzero(allowed))
            assert allowed[slots].all()
            assert len(set(slots.tolist())) == len(slots)
            assert (np.diff(scores) <= 0).all()
            true = self.stored[self.rows[slots]] @ query
            np.testing.assert_allclose(scores, true, atol=CODED)
            np.testing.assert_allclose(self.index.vectors(slots) @ query, true, atol=CODED)
            best = np.sort(self.stored[self.rows[allowed]] @ query)[::-1][: len(slots)]
            np.testing.assert_allclose(np.sort(true)[::-1], best, atol=2 * CODED)


STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("add"), st.integers(1, 50)),
        st.tuples(st.just("kill"), st.floats(0, 1)),
        st.tuples(st.just("compact"), st.none()),
        st.tuples(st.just("build"), st.booleans()),
    ),
    max_size=12,
)


@pytest.mark.parametrize("backend", BACKENDS)
@given(STEPS, st.integers(1, 30), st.sampled_from([1, 2, 5]), st.floats(0, 1), st.integers(0, 1000))
@settings(max_examples=40, deadline=None)
def test_finds_what_a_full_sort_finds(
    backend: str, steps: list[tuple[str, float]], depth: int, queries: int, share: float, seed: int
) -> None:
    held = Collection(BACKENDS[backend]())
    for number, (step, size) in enumerate(steps):
        if step == "add":
            held.add(int(size), seed + number)
        elif step == "kill":
            held.kill(size, seed + number)
        elif step == "compact":
            held.compact()
        else:
            held.build(bool(size))
        held.check(depth, queries, share, seed)
        held.check(depth, queries, 1, seed)


def test_an_index_never_changes() -> None:
    held = Collection(tiers())
    held.add(40, 1)
    before = held.index
    found = before.search(vectors(1, 5), 10, None)[0][0].tolist()
    held.build(True)
    held.add(30, 2)
    held.kill(0.5, 3)
    held.compact()
    assert before.search(vectors(1, 5), 10, None)[0][0].tolist() == found


def grown(count: int, backend: tiered.Tiered) -> Collection:
    held = Collection(backend)
    for start in range(0, count, 50):
        held.add(min(50, count - start), start)
        held.build(False)
    for _ in range(10):
        held.build(True)
    return held


def test_a_collection_climbs_the_tiers() -> None:
    states = []
    for count in (3, 30, 400):
        index = grown(count, tiers(exact_rows=8, hnsw_rows=100)).index
        assert isinstance(index, Layered)
        states.append(index.state())
    assert [state.tier for state in states] == ["exact", "sq8", "hnsw"]
    assert [state.recall is None for state in states] == [True, True, False]
    assert states[2].recall is not None
    assert states[2].recall >= 0.97
    assert 400 * DIMENSIONS < states[2].bytes < 400 * (DIMENSIONS + 160)


def test_a_job_that_is_done_is_not_due_again() -> None:
    held = grown(400, tiers(exact_rows=8, hnsw_rows=100))
    assert isinstance(held.index, Layered)
    assert held.index.job(held.live, True) is None
    assert len(held.index.parts()) == 1


@given(st.lists(st.integers(1, 400), min_size=1, max_size=60), st.sampled_from([0.3, 0.5, 1.0]))
@settings(deadline=None)
def test_segments_stay_few_and_rows_are_rewritten_seldom(sizes: list[int], share: float) -> None:
    policy = Policy(1, share, share / 10, 0.3, 1)
    segments: list[Size] = []
    written = 0
    for size in sizes:
        segments.append(Size(SQ8, size, size))
        while (job := planned(policy, segments, 0, False)) is not None:
            first, stop, kind = job
            assert kind == HNSW
            total = sum(each.living for each in segments[first:stop])
            written += total
            segments[first:stop] = [Size(HNSW, total, total)]
    total = sum(sizes)
    assert len(segments) <= 2 + np.log(total) / np.log(1 + 1 / share)
    assert written <= total * (2 + np.log(total) / np.log(1 + share))


def test_the_depth_of_a_graph_is_found_by_trial() -> None:
    rows = vectors(3000, 3, 64)
    ready = []
    for recall in (0.5, 0.97):
        backend = tiered.load(dense.Parts(1), recall=recall)
        part, _ = backend.build(HNSW, 64, np.arange(3000), reading(rows), lambda: False)
        ready.append(part)
    low, high = ready
    assert low.ef < high.ef, "the harder wish needs the deeper search"
    assert high.recall is not None
    assert high.recall >= 0.97
    questions = vectors(50, 9, 64)
    found = high.search(questions, NEAREST, None, 3000)[1]
    true = np.argsort(-(questions @ rows.T), axis=1)[:, :NEAREST]
    hits = [len(set(a.tolist()) & set(b.tolist())) for a, b in zip(found, true, strict=True)]
    assert np.mean(hits) / NEAREST > 0.9


def test_the_trial_knows_the_truly_nearest_and_not_the_vector_itself() -> None:
    rows = vectors(200, 4)
    trial = Trial(np.array([3, 150]), rows[[3, 150]])
    for start in range(0, 200, 30):
        known = np.arange(start, min(200, start + 30))
        trial.look(known, rows[known], start)
    for query, own, slots in zip(trial.queries, (3, 150), trial.slots, strict=True):
        scores = rows @ query
        scores[own] = -np.inf
        assert set(slots.tolist()) == set(np.argsort(-scores)[:NEAREST].tolist())
    assert trial.own.tolist() == [3, 150]
    perfect = np.hstack([trial.own[:, None], trial.slots])
    assert trial.recall(perfect)[0] == 1.0
    assert trial.recall(np.full_like(perfect, -1))[0] == 0.0


@pytest.mark.parametrize("kind", [SQ8, HNSW])
def test_a_part_is_the_same_after_its_file(tmp_path: Path, kind: str) -> None:
    rows, backend = vectors(300, 6), tiers()
    part, _ = backend.build(kind, DIMENSIONS, np.arange(300), reading(rows), lambda: False)
    part.write(tmp_path / "file")
    again = backend.read(tmp_path / "file", part.name, part.header())
    asked = vectors(3, 7)
    for one, other in zip(part.search(asked, 9, None, 300), again.search(asked, 9, None, 300), strict=True):
        np.testing.assert_array_equal(one, other)
    assert (again.name, again.ef, again.recall) == (part.name, part.ef, part.recall)
    other = {SQ8: HNSW, HNSW: SQ8}[kind]
    with pytest.raises(ValueError, match="no index of the kind"):
        backend.read(tmp_path / "file", part.name, part.header() | {"kind": other})


def test_building_ends_when_the_service_does() -> None:
    with pytest.raises(Stopped):
        tiers().build(HNSW, DIMENSIONS, np.arange(300), reading(vectors(300)), lambda: True)


def test_a_graph_is_never_cut() -> None:
    held = Collection(tiers())
    held.add(60, 1)
    held.build(True)
    assert isinstance(held.index, Layered)
    part, _ = tiers().build(SQ8, DIMENSIONS, np.arange(5), reading(held.stored), lambda: False)
    with pytest.raises(ValueError, match="cut"):
        held.index.replaced(10, 15, part)


def test_what_few_rows_a_filter_allows_are_found_without_the_graph() -> None:
    backend = tiered.load(dense.Parts(1), exact_rows=16, hnsw_rows=60)
    rows = vectors(5000, 8)
    part, _ = backend.build(HNSW, DIMENSIONS, np.arange(5000), reading(rows), lambda: False)
    allowed = np.random.default_rng(0).random(5000) < 0.01
    bits, count = np.packbits(allowed, bitorder="little"), int(allowed.sum())
    assert part.scans(10, bits, count)
    assert not part.scans(10, None, 5000)
    for query, slots in zip(vectors(5, 9), part.search(vectors(5, 9), 10, bits, count)[1], strict=True):
        coded = np.where(allowed, part.vectors(np.arange(5000)) @ query, -np.inf)
        assert set(slots.tolist()) == set(np.argsort(-coded)[:10].tolist())
