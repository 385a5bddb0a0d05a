"""The recipe's numbers by hand."""

import math

import numpy as np
import pytest

from services.reranker.scorers import _maxsim as maxsim
from services.reranker.scorers import _recipe as recipe

Scores = list[float | None]


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


def test_words_that_tell_passages_apart_count() -> None:
    # The last of three shares no word with the query, so that cosines count nothing.
    assert recipe.first_stage([0.1, 0.5, 0.4], [4.0, 8.0, None], [], 24) == pytest.approx([-1.0, 0.0, -2.0])


def test_meaning_counts_where_words_tell_nothing_apart() -> None:
    assert recipe.first_stage([0.1, 0.5, None], [8.0, 8.0, 8.0], [], 24) == pytest.approx([-2.4, 0.0, -2.4])


def test_both_count_in_between() -> None:
    first, second = 6 * 0.5 * 0.2 + 0.5 * 1.0, 6 * 0.5 * 0.4 + 0.5 * 0.5
    assert recipe.first_stage([0.2, 0.4], [8.0, 4.0], [], 5) == pytest.approx([first - second, 0.0])


@pytest.mark.parametrize(
    ("dense", "sparse", "fused", "expected"),
    [
        ([None, None], [None, None], [None, None], [0.0, 0.0]),
        ([None, None], [None, None], [0.2, 0.6], [-1.0, 0.0]),
        ([None, None], [3.0, -1.0], [0.2, 0.6], [0.0, -1.0]),
        ([0.4, 0.5], [None, None], [0.2, 0.6], [-0.6, 0.0]),
        ([], [], [], []),
    ],
)
def test_where_a_half_says_nothing(dense: Scores, sparse: Scores, fused: Scores, expected: list[float]) -> None:
    assert recipe.first_stage(dense, sparse, fused, 12) == pytest.approx(expected)


@pytest.mark.parametrize(
    ("words", "flatness"),
    [
        ([0.0, 0.0], 1.0),
        ([0.5, 1.0], 0.5),
        ([1.0], 1.0),
        ([1.0, *[0.7] * 9, *[0.1] * 40], 0.7),
        ([*[0.1] * 40, 1.0, *[0.7] * 8], 0.1),
        ([1.0, *[0.0] * 20], 0.0),
    ],
)
def test_flatness_is_the_tenth_beside_the_first(words: list[float], flatness: float) -> None:
    assert recipe.flatness(np.array(words, dtype=np.float32)) == pytest.approx(flatness)


@pytest.mark.parametrize(("pieces", "weight"), [(0, 1), (3, 1), (12, 1), (24, 2), (48, 4), (200, 4)])
def test_lengthening(pieces: int, weight: float) -> None:
    assert recipe.lengthening(pieces) == pytest.approx(weight)
