"""The kernel against an implementation that one can read, and the recipe's numbers by hand."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.reranker.scorers import _maxsim as maxsim
from services.reranker.scorers import _recipe as recipe

DIMENSIONS = 24


def signs(bits: maxsim.Bits) -> list[list[float]]:
    return [[1.0 if byte >> (7 - bit) & 1 else -1.0 for byte in row for bit in range(8)] for row in bits.tolist()]


def naive(query: maxsim.Floats, weight: maxsim.Floats, passage: maxsim.Bits) -> float:
    if not len(query):
        return 0.0
    total = 0.0
    for vector, w in zip(query.tolist(), weight.tolist(), strict=True):
        cosines = [
            sum(q * s for q, s in zip(vector, row, strict=True)) / math.sqrt(len(vector)) for row in signs(passage)
        ]
        total += w * max(cosines, default=-1.0)
    return float(total / sum(weight.tolist()))


def unit(rows: maxsim.Floats) -> maxsim.Floats:
    return np.asarray(rows / np.linalg.norm(rows, axis=1, keepdims=True), dtype=np.float32)


@given(
    seed=st.integers(0, 2**32 - 1),
    pieces=st.integers(0, 6),
    lengths=st.lists(st.integers(0, 9), min_size=0, max_size=8),
    block=st.integers(1, 20),
)
def test_kernel_equals_the_naive_one(seed: int, pieces: int, lengths: list[int], block: int) -> None:
    random = np.random.default_rng(seed)
    query = unit(random.normal(size=(pieces, DIMENSIONS)).astype(np.float32))
    weight = random.uniform(0.1, 1.25, pieces).astype(np.float32)
    passages = [random.integers(0, 256, (length, DIMENSIONS // 8), dtype=np.uint8) for length in lengths]
    scores = recipe.maxsim(query, weight, passages)
    assert scores == pytest.approx([naive(query, weight, passage) for passage in passages], abs=1e-5)
    assert maxsim.best(query, passages, block) == pytest.approx(maxsim.best(query, passages, 10_000), abs=1e-6)


@given(st.lists(st.integers(0, 50), max_size=30), st.integers(1, 60))
def test_blocks_cover_all_passages_within_their_bound(lengths: list[int], most: int) -> None:
    ranges = list(maxsim.blocks(lengths, most))
    assert [at for start, end in ranges for at in range(start, end)] == list(range(len(lengths)))
    # Empty passages cost nothing, so they may stand beside one that is over the bound alone.
    assert all(sum(lengths[a:b]) <= most or sum(n > 0 for n in lengths[a:b]) == 1 for a, b in ranges)


def test_a_passage_with_the_querys_own_signs_is_most_like_it() -> None:
    row = np.array([[1, -1] * (DIMENSIONS // 2)], dtype=np.float32) / np.sqrt(DIMENSIONS).astype(np.float32)
    same, opposite = np.packbits(row > 0, axis=1), np.packbits(row < 0, axis=1)
    assert maxsim.best(row, [same, opposite])[0] == pytest.approx([1.0, -1.0], abs=1e-6)


def test_dimensions_need_not_fill_the_last_byte() -> None:
    query = unit(np.array([[1.0, 2.0, -1.0]], dtype=np.float32))
    bits = np.packbits(np.array([[1, 1, 0]], dtype=np.uint8), axis=1)
    assert maxsim.similarities(query, bits)[0, 0] == pytest.approx(4 / math.sqrt(6) / math.sqrt(3), abs=1e-6)


def test_weights_by_hand() -> None:
    rarity = recipe.idf([7, 8, 9], 100, {7: 99, 8: 1})
    assert rarity == pytest.approx([math.log(2), math.log(51), math.log(101)], abs=1e-6)
    weight = recipe.weights(rarity, np.array([True, True, False]))
    assert weight == pytest.approx([math.log(2) / math.log(51) + 0.25, 1.25, 0.0], abs=1e-6)


@pytest.mark.parametrize("rarity", [None, np.zeros(3, np.float32)])
def test_weights_without_statistics_are_equal(rarity: maxsim.Floats | None) -> None:
    assert recipe.weights(rarity, np.array([True, False, True])).tolist() == [1.0, 0.0, 1.0]


def test_punctuation_counts_where_there_is_nothing_else() -> None:
    assert recipe.weights(recipe.idf([1, 2], 10, {}), np.array([False, False])).tolist() == [1.0, 1.0]
    assert recipe.weights(None, np.zeros(0, np.bool_)).tolist() == []


def test_fused_by_hand() -> None:
    scores = recipe.fused([0.5, 0.3, None, 0.4], [None, 8.0, 4.0, -1.0])
    assert scores == pytest.approx([0.5, 0.5, 0.25, 0.25], abs=1e-6)


@pytest.mark.parametrize(
    ("dense", "sparse", "expected"),
    [
        ([None, None], [None, None], [0.0, 0.0]),
        ([0.4, 0.4], [0.0, 0.0], [0.0, 0.0]),
        ([0.4, None], [3.0, 3.0], [0.5, 0.5]),
        ([0.4, 0.6], [None, None], [0.0, 0.5]),
        ([], [], []),
    ],
)
def test_fused_where_a_half_says_nothing(
    dense: list[float | None], sparse: list[float | None], expected: list[float]
) -> None:
    assert recipe.fused(dense, sparse).tolist() == pytest.approx(expected)


@pytest.mark.parametrize(("pieces", "weight"), [(0, 0.1), (3, 0.1), (12, 0.1), (24, 0.2), (48, 0.4), (200, 0.4)])
def test_hybrid_weight(pieces: int, weight: float) -> None:
    assert recipe.hybrid_weight(pieces) == pytest.approx(weight)
