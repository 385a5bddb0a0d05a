import pytest

from ragline.evaluation.metrics import interval, ndcg, recall, reciprocal_rank


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
