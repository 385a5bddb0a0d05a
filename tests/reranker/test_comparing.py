"""Agreement and wins, by numbers worked out by hand."""

import math
from itertools import combinations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.reranker.comparing import Agreement, Outcome, Scored, agreement, dcg, judge, tau_b


def scored(*raw: float) -> Scored:
    return Scored(raw, [score / 10 for score in raw])


def test_the_same_answer_agrees_in_full() -> None:
    assert agreement(scored(1, 3, 2), scored(1, 3, 2)) == Agreement(1.0, 1.0, 1.0, 0.0)


def test_the_other_way_round() -> None:
    found = agreement(scored(1, 2, 3), scored(3, 2, 1))
    assert found.measures() == {"first": 0, "overlap": 1, "kendall": -1, "difference": pytest.approx(0.4 / 3)}


def test_only_the_first_ten_are_looked_at() -> None:
    # One puts 0 to 9 first, the other 5 to 14: five in common, of which it turns the order round.
    one = scored(*(20 - place for place in range(15)))
    other = scored(*(place for place in range(15)))
    found = agreement(one, other)
    assert (found.first, found.overlap, found.kendall) == (0.0, 0.5, -1.0)


def test_what_cannot_be_compared_is_left_out() -> None:
    found = agreement(scored(1, 1), scored(1, 2))
    assert found.kendall is None
    assert "kendall" not in found.measures()
    assert agreement(scored(4), scored(2)) == Agreement(1.0, 1.0, None, 0.2)


def test_kendall_with_ties() -> None:
    # Of six pairs four go the same way, one is tied on either side: 4 / sqrt(5 * 5).
    assert tau_b([1, 1, 2, 3], [1, 2, 2, 3]) == pytest.approx(0.8)


@given(st.lists(st.tuples(st.integers(0, 3), st.integers(0, 3)), min_size=2, max_size=10))
def test_kendall_counts_pairs(scores: list[tuple[int, int]]) -> None:
    pairs = [(a - c, b - d) for (a, b), (c, d) in combinations(scores, 2)]
    same, turned = sum(x * y > 0 for x, y in pairs), sum(x * y < 0 for x, y in pairs)
    untied = sum(x != 0 for x, _ in pairs) * sum(y != 0 for _, y in pairs)
    expected = (same - turned) / math.sqrt(untied) if untied else None
    one, other = zip(*scores, strict=True)
    assert tau_b(one, other) == pytest.approx(expected)


def test_the_judge_likes_gains_near_the_top() -> None:
    gains = {0: 0.1, 1: 0.5, 2: 0.9}
    assert dcg([2, 1, 0], gains) == pytest.approx(0.9 + 0.5 / math.log2(3) + 0.1 / 2)
    assert dcg([0, 1, 2], gains) == pytest.approx(0.1 + 0.5 / math.log2(3) + 0.9 / 2)
    assert judge([0, 1, 2], [2, 1, 0], gains) is Outcome.WIN
    assert judge([2, 1, 0], [0, 1, 2], gains) is Outcome.LOSS
    assert judge([2, 1, 0], [2, 1, 0], gains) is Outcome.TIE
    assert judge([2, 0, 1], [2, 1, 0], gains | {1: 0.1}) is Outcome.TIE


def test_the_eleventh_place_counts_for_nothing() -> None:
    gains = dict.fromkeys(range(12), 0.5) | {11: 1.0}
    assert judge(range(11), [*range(10), 11], gains) is Outcome.TIE
