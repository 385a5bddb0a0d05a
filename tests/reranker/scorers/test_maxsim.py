"""The kernel against an implementation that one can read."""

import math
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ragline.token_vectors import Layout, PackedTokens, folded, quantised
from services.reranker.scorers import _maxsim as maxsim
from services.reranker.scorers import _recipe as recipe
from services.reranker.scorers._product import product

DIMENSIONS = 24
HALF = 5e-4  # the factors of passages are kept in half precision


def unit(rows: maxsim.Floats) -> maxsim.Floats:
    return np.asarray(rows / np.linalg.norm(rows, axis=1, keepdims=True), dtype=np.float32)


def passage(random: np.random.Generator, tokens: int, dimensions: int, bits: int) -> PackedTokens:
    """What is kept of a passage, made of numbers that every layout can hold."""
    layout = Layout(bits, dimensions)
    if bits == 1:
        signs = random.integers(0, 2, (tokens, dimensions), dtype=np.uint8)
        return PackedTokens(np.packbits(signs, axis=1), layout)
    codes, factors = quantised(random.normal(size=(tokens, dimensions)).astype(np.float32), bits)
    return PackedTokens(folded(codes, bits), layout, factors.astype(np.float32))


def rows(passage: PackedTokens) -> list[list[float]]:
    """A passage's vectors, read bit by bit."""
    bits, dimensions = passage.layout.bits, passage.layout.dimensions
    parts = 8 // bits
    made = []
    for row in passage.codes.tolist():
        if bits == 1:
            codes = [byte >> (7 - at) & 1 for byte in row for at in range(8)]
        else:
            codes = [byte >> (8 - bits * (at + 1)) & (2**bits - 1) for at in range(parts) for byte in row]
        vector = [code - (2**bits - 1) / 2 for code in codes[:dimensions]]
        length = math.sqrt(sum(number * number for number in vector))
        made.append([number / length for number in vector])
    return made


def in_steps(query: maxsim.Floats) -> maxsim.Floats:
    """The query as the kernel has it: each row in whole steps of its own, none off by more than half a step."""
    made = maxsim.whole(query, query.shape[1])
    rounded = (made.numbers * made.steps).T.astype(np.float32)
    assert (np.abs(rounded - query) <= made.steps[:, None] * 0.5001).all()
    return rounded


def naive(query: maxsim.Floats, weight: maxsim.Floats, passage: PackedTokens) -> float:
    if not len(query):
        return 0.0
    total = 0.0
    for vector, w in zip(query.tolist(), weight.tolist(), strict=True):
        cosines = [sum(q * x for q, x in zip(vector, row, strict=True)) for row in rows(passage)]
        total += w * max(cosines, default=-1.0)
    return float(total / sum(weight.tolist()))


@settings(deadline=None)
@given(
    seed=st.integers(0, 2**32 - 1),
    pieces=st.integers(0, 6),
    lengths=st.lists(st.integers(0, 9), min_size=0, max_size=8),
    block=st.integers(1, 20),
    bits=st.sampled_from([1, 2, 4, 8]),
    dimensions=st.sampled_from([19, 64, 130]),
)
def test_kernel_equals_the_naive_one(
    seed: int, pieces: int, lengths: list[int], block: int, bits: int, dimensions: int
) -> None:
    random = np.random.default_rng(seed)
    # Numbers of much the same size, as an encoder's are: seven bits are then seven bits of each.
    query = unit(random.uniform(0.5, 1.5, (pieces, dimensions)) * random.choice([-1, 1], (pieces, dimensions)))
    weight = random.uniform(0.1, 1.25, pieces).astype(np.float32)
    passages = [passage(random, length, dimensions, bits) for length in lengths]
    scores = recipe.maxsim(query, weight, passages)
    assert scores == pytest.approx([naive(in_steps(query), weight, each) for each in passages], abs=HALF)
    assert maxsim.best(query, passages, block) == pytest.approx(maxsim.best(query, passages, 10_000), abs=1e-6)
    for each, most in zip(passages, maxsim.best(query, passages).T, strict=True):
        if len(each):
            assert maxsim.similarities(in_steps(query), each).max(axis=1) == pytest.approx(most, abs=HALF)


def test_products_are_exact_at_the_greatest_numbers() -> None:
    left = np.full((3, 384), 255, np.uint8)
    right = np.full((384, 2), -maxsim.MOST, np.int8)
    right[:, 0] = maxsim.MOST
    assert product(left, right).tolist() == [[255 * 63 * 384, -255 * 63 * 384]] * 3


def test_threads_share_one_session() -> None:
    random = np.random.default_rng(5)
    query = unit(random.normal(size=(5, 64)).astype(np.float32))
    passages = [passage(random, 30, 64, 1) for _ in range(20)]
    alone = maxsim.best(query, passages)
    with ThreadPoolExecutor(4) as threads:
        for together in threads.map(lambda _: maxsim.best(query, passages), range(16)):
            np.testing.assert_array_equal(together, alone)


@given(st.lists(st.integers(0, 50), max_size=30), st.integers(1, 60))
def test_blocks_cover_all_passages_within_their_bound(lengths: list[int], most: int) -> None:
    ranges = list(maxsim.blocks(lengths, most))
    assert [at for start, end in ranges for at in range(start, end)] == list(range(len(lengths)))
    # Empty passages cost nothing, so they may stand beside one that is over the bound alone.
    assert all(sum(lengths[a:b]) <= most or sum(n > 0 for n in lengths[a:b]) == 1 for a, b in ranges)


def test_a_passage_with_the_querys_own_signs_is_most_like_it() -> None:
    row = np.array([[1, -1] * (DIMENSIONS // 2)], dtype=np.float32) / np.sqrt(DIMENSIONS).astype(np.float32)
    same, opposite = (
        PackedTokens(np.packbits(signs, axis=1), Layout(1, DIMENSIONS)) for signs in (row > 0, row < 0)
    )
    assert maxsim.best(row, [same, opposite])[0] == pytest.approx([1.0, -1.0], abs=1e-6)


def test_dimensions_need_not_fill_the_last_byte() -> None:
    query = unit(np.array([[1.0, 2.0, -1.0]], dtype=np.float32))
    packed = PackedTokens(np.packbits(np.array([[1, 1, 0]], dtype=np.uint8), axis=1), Layout(1, 3))
    assert maxsim.similarities(query, packed)[0, 0] == pytest.approx(4 / math.sqrt(6) / math.sqrt(3), abs=1e-6)


def test_a_query_of_noughts_is_like_nothing() -> None:
    packed = PackedTokens(np.zeros((2, 3), np.uint8), Layout(1, DIMENSIONS))
    assert maxsim.best(np.zeros((1, DIMENSIONS), np.float32), [packed]).tolist() == [[0.0]]
