"""Exact vector search, however the vectors came in and whichever of them may be found."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from services.retriever import dense
from services.retriever.dense import Dense, flat

DIMENSIONS = 8
Floats = NDArray[np.float32]


def vectors(count: int, seed: int = 0) -> Floats:
    made = np.random.default_rng(seed).standard_normal((count, DIMENSIONS)).astype(np.float32)
    unit: Floats = made / np.linalg.norm(made, axis=1, keepdims=True)
    return unit


def index(parts: list[Floats], segment_rows: int = 32) -> Dense:
    built: Dense = flat.load(dense.Parts(1), segment_rows=segment_rows).empty(DIMENSIONS)
    for part in parts:
        built = built.added(part)
    return built


def expected(rows: Floats, query: Floats, depth: int, allowed: NDArray[np.bool_]) -> list[int]:
    scores = np.where(allowed, rows @ query, -np.inf)
    order = np.lexsort((np.arange(len(rows)), -scores))
    return [int(slot) for slot in order[:depth] if np.isfinite(scores[slot])]


@given(
    st.lists(st.integers(0, 70), max_size=8),
    st.integers(1, 20),
    st.sampled_from([1, 2, 5]),
    st.floats(0, 1),
    st.integers(0, 1000),
)
@settings(max_examples=60, deadline=None)
def test_finds_what_a_full_sort_finds(sizes: list[int], depth: int, queries: int, share: float, seed: int) -> None:
    rows = vectors(sum(sizes), seed)
    built = index(list(np.split(rows, np.cumsum(sizes)[:-1])) if sizes else [])
    assert len(built) == len(rows)
    allowed = np.random.default_rng(seed).random(len(rows)) < share
    asked = vectors(queries, seed + 1)
    for query, (slots, scores) in zip(asked, built.search(asked, depth, allowed), strict=True):
        assert slots.tolist() == expected(rows, query, depth, allowed)
        np.testing.assert_allclose(scores, rows[slots] @ query, atol=1e-5)
    for query, (slots, _) in zip(asked, built.search(asked, depth, None), strict=True):
        assert slots.tolist() == expected(rows, query, depth, np.ones(len(rows), dtype=np.bool_))


def test_an_index_never_changes() -> None:
    first = index([vectors(10)])
    before = first.search(vectors(1, 5), 10, None)[0][0].tolist()
    second = first.added(vectors(10, 1))
    assert (len(first), len(second)) == (10, 20)
    assert first.search(vectors(1, 5), 10, None)[0][0].tolist() == before


def test_segments_stay_few_and_are_sealed() -> None:
    rows = vectors(500)
    built = index([row[None] for row in rows], segment_rows=128)
    assert isinstance(built, flat.FlatIndex)
    sizes = [segment.ntotal for segment in built.segments]
    assert sum(sizes) == 500
    assert max(sizes) <= 128
    assert len(sizes) < 20
    np.testing.assert_array_equal(built.vectors(np.array([499, 0, 250])), rows[[499, 0, 250]])


def test_a_large_batch_is_split_at_the_segment_size() -> None:
    built = index([vectors(100)], segment_rows=32)
    assert isinstance(built, flat.FlatIndex)
    assert [segment.ntotal for segment in built.segments] == [32, 32, 32, 4]


@pytest.mark.parametrize("share", [0.05, 0.5, 0.95])
def test_compaction_drops_only_the_dead(share: float) -> None:
    rows = vectors(300)
    built = index([rows], segment_rows=64)
    live = np.random.default_rng(1).random(300) < share
    smaller, kept = built.compacted(live)
    assert not (live & ~kept).any()
    assert len(smaller) == np.count_nonzero(kept)
    np.testing.assert_array_equal(smaller.vectors(np.arange(len(smaller))), rows[kept])
    if share < 0.9:
        np.testing.assert_array_equal(kept, live)


def test_the_empty_index_finds_nothing() -> None:
    for queries in (1, 10):
        assert all(len(slots) == 0 for slots, _ in index([]).search(vectors(queries), 5, None))
