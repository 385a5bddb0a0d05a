import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ragline.evaluation.metrics import bounds, difference, interval, ndcg, recall, reciprocal_rank, resampled

DOCUMENTS = st.sampled_from([f"d{number}" for number in range(15)])
RANKINGS = st.lists(DOCUMENTS, unique=True)
GRADES = st.dictionaries(DOCUMENTS, st.integers(0, 4))


def test_ndcg_of_hand_made_rankings() -> None:
    assert ndcg(["a", "b"], {"a": 1}) == 1.0
    assert ndcg(["b", "a"], {"a": 1}) == pytest.approx(0.6309, abs=1e-4)
    assert ndcg(["x"], {"a": 1}) == 0.0
    # grades 3, 0, 1 against the ideal 3, 1: (3 + 1/2) / (3 + 1/log2(3))
    assert ndcg(["a", "x", "b"], {"a": 3, "b": 1}) == pytest.approx(3.5 / 3.6309, abs=1e-4)


def test_what_is_below_the_depth_does_not_count() -> None:
    ranking = [str(n) for n in range(20)]
    assert ndcg(ranking, {"10": 1}, depth=10) == 0.0
    assert recall(ranking, {"3": 1, "10": 1}, depth=10) == 0.5
    assert reciprocal_rank(ranking, {"10": 1}, depth=10) == 0.0


def test_grades_of_nothing_are_not_relevant() -> None:
    assert recall(["a"], {"a": 0}) == 0.0
    assert reciprocal_rank(["a", "b"], {"a": 0, "b": 2}) == 0.5


def test_the_interval_holds_the_mean_and_is_repeatable() -> None:
    low, high = interval([0.1, 0.2, 0.3, 0.4])
    assert low < 0.25 < high
    assert (low, high) == interval([0.1, 0.2, 0.3, 0.4])


@given(RANKINGS, GRADES, st.integers(1, 12))
def test_ndcg_is_what_its_definition_says(ranking: list[str], grades: dict[str, int], depth: int) -> None:
    gain = 0.0
    for place in range(min(depth, len(ranking))):
        gain += grades.get(ranking[place], 0) / math.log2(place + 2)
    ideal = 0.0
    for place, grade in enumerate(sorted(grades.values())[::-1]):
        ideal += grade / math.log2(place + 2) if place < depth else 0.0
    assert ndcg(ranking, grades, depth) == pytest.approx(gain / ideal if ideal else 0.0)


@given(RANKINGS, GRADES)
def test_the_best_order_is_no_worse(ranking: list[str], grades: dict[str, int]) -> None:
    best = sorted(ranking, key=lambda document: -grades.get(document, 0))
    assert 0.0 <= ndcg(ranking, grades) <= ndcg(best, grades) + 1e-12 <= 1.0 + 1e-9
    assert reciprocal_rank(ranking, grades) <= reciprocal_rank(best, grades)
    assert recall(ranking, grades) == recall(best, grades)


def test_a_difference_by_hand() -> None:
    found = difference([[(0.5, 0.2), (0.4, 0.4), (0.1, 0.3)]])
    assert found.mean == pytest.approx(0.1 / 3)
    assert (found.wins, found.losses, found.ties) == (1, 1, 1)
    assert found.low < 0 < found.high
    assert found.p > 0.3


def test_sets_count_the_same_whatever_their_size() -> None:
    found = difference([[(1.0, 0.0)] * 2, [(0.0, 0.0)] * 50])
    assert (found.mean, found.low, found.high) == (0.5, 0.5, 0.5)
    assert (found.wins, found.ties) == (2, 50)


def test_no_difference_is_no_evidence() -> None:
    found = difference([[(0.3, 0.3)] * 20])
    assert (found.mean, found.p) == (0.0, 1.0)


def test_a_clear_difference_is_evidence_however_it_is_drawn() -> None:
    pairs = [[(0.6 + 0.01 * (number % 7), 0.4) for number in range(50)]]
    for seed in range(3):
        found = difference(pairs, seed)
        assert found.p == pytest.approx(1 / 10_001)
        assert 0.2 < found.low < found.mean < found.high
    assert difference(pairs, 1) == difference(pairs, 1)


def test_intervals_hold_the_truth_about_as_often_as_they_say() -> None:
    """95 % of intervals of 60 draws hold the mean that they were drawn about; p is under 0.05 in 5 % of cases."""
    draw = np.random.default_rng(1)
    held = small = 0
    for seed in range(400):
        values = draw.normal(0.0, 0.3, 60)
        means = resampled(values.tolist(), 500, seed)
        low, high = bounds(means)
        held += low <= 0.0 <= high
        small += np.mean(np.abs(means - values.mean()) >= abs(values.mean())) < 0.05
    assert 0.91 <= held / 400 <= 0.97
    assert 0.03 <= small / 400 <= 0.09


def test_many_values_are_drawn_in_parts() -> None:
    whole = resampled([0.0, 1.0] * 300, rounds=2500)
    assert len(whole) == 2500
    assert whole.std() == pytest.approx(0.5 / math.sqrt(600), rel=0.1)
