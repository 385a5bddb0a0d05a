"""Maximal marginal relevance: between the best first and the most unlike."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.retriever.diversity import ordered
from services.retriever.stores import Vectors


def unit(rows: list[list[float]]) -> Vectors:
    made = np.array(rows, dtype=np.float32)
    lengths: Vectors = np.linalg.norm(made, axis=1, keepdims=True)
    return made / lengths


def places(chosen: list[tuple[int, float]]) -> list[int]:
    return [place for place, _ in chosen]


def test_twins_stand_apart_from_each_other() -> None:
    vectors = unit([[1, 0], [1, 0.01], [0, 1]])
    assert places(ordered([1.0, 0.9, 0.5], vectors, 0.5, 3)) == [0, 2, 1]
    assert places(ordered([1.0, 0.9, 0.5], vectors, 0.1, 3)) == [0, 1, 2]


def test_its_scores_are_those_of_the_paper() -> None:
    vectors = unit([[1, 0], [0.6, 0.8], [0, 1]])
    chosen = ordered([3.0, 2.0, 1.0], vectors, 0.4, 3)
    assert places(chosen) == [0, 1, 2]
    assert [score for _, score in chosen] == pytest.approx([0.6, 0.6 * 0.5 - 0.4 * 0.6, -0.4 * 0.8])


def test_nothing_and_one_score_for_all() -> None:
    assert ordered([], np.empty((0, 2), dtype=np.float32), 0.5, 3) == []
    assert places(ordered([2.0, 2.0, 2.0], unit([[1, 0], [1, 0], [0, 1]]), 0.5, 2)) == [0, 2]


@given(st.integers(1, 30), st.integers(1, 40), st.floats(0, 1), st.integers(0, 2**32 - 1))
def test_each_is_chosen_once_the_best_first(n: int, count: int, diversity: float, seed: int) -> None:
    dice = np.random.default_rng(seed)
    vectors = unit(dice.standard_normal((n, 5)).tolist())
    relevance = np.sort(dice.standard_normal(n))[::-1].tolist()
    chosen = places(ordered(relevance, vectors, diversity, count))
    assert len(chosen) == len(set(chosen)) == min(n, count)
    assert chosen[0] == 0
    assert places(ordered(relevance, vectors, 0.0, n)) == list(range(n))
