"""Properties of the two ways to join rankings."""

from __future__ import annotations

import math
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.retriever.fusion import Fused, choose, confidence
from tests.retriever.plain_fusion import fuse, rrf, weighted

Scored = list[tuple[int, float]]


@st.composite
def rankings(draw: st.DrawFn) -> tuple[Scored, Scored, dict[int, float]]:
    """A dense and a sparse ranking, and the cosine of every candidate."""
    ids = st.integers(1, 40)
    near = {i: draw(st.floats(-1, 1)) for i in draw(st.sets(ids, max_size=15))}
    matching = {i: draw(st.floats(0.01, 50)) for i in draw(st.sets(ids, max_size=15))}
    cosines = near | {i: draw(st.floats(-1, 1)) for i in matching if i not in near}
    return best_first(near), best_first(matching), cosines


def best_first(scores: dict[int, float]) -> Scored:
    return sorted(scores.items(), key=lambda pair: (-pair[1], pair[0]))


@given(rankings(), st.sampled_from(["rrf", "weighted"]), st.integers(1, 40))
def test_every_candidate_once_best_first_ties_by_id(
    given_rankings: tuple[Scored, Scored, dict[int, float]], method: str, limit: int
) -> None:
    dense, sparse, cosines = given_rankings
    fused = fuse(method, dense, sparse, cosines, limit)
    everything = fuse(method, dense, sparse, cosines, 100)
    assert {one.id for one in everything} == set(cosines)
    assert fused == everything[:limit]
    assert [(-one.score, one.id) for one in everything] == sorted((-one.score, one.id) for one in everything)


@given(rankings(), st.sampled_from(["rrf", "weighted"]))
def test_each_candidate_says_what_each_side_said(
    given_rankings: tuple[Scored, Scored, dict[int, float]], method: str
) -> None:
    dense, sparse, cosines = given_rankings
    for one in fuse(method, dense, sparse, cosines, 100):
        assert one.dense_score == cosines[one.id]
        assert one.sparse_score == dict(sparse).get(one.id)
        assert one.dense_rank == rank(dense, one.id)
        assert one.sparse_rank == rank(sparse, one.id)


def rank(ranking: Scored, identity: int) -> int | None:
    ids = [i for i, _ in ranking]
    return ids.index(identity) + 1 if identity in ids else None


@given(rankings(), st.floats(0, 1))
def test_weighted_scores_lie_between_0_and_1(
    given_rankings: tuple[Scored, Scored, dict[int, float]], a: float
) -> None:
    _, sparse, cosines = given_rankings
    assert all(0 <= score <= 1 + 1e-9 for score in weighted(cosines, sparse, a).values())


@given(rankings(), st.sampled_from(["rrf", "weighted"]))
def test_what_both_sides_prefer_comes_first(
    given_rankings: tuple[Scored, Scored, dict[int, float]], method: str
) -> None:
    dense, sparse, cosines = given_rankings
    fused = {one.id: one.score for one in fuse(method, dense, sparse, cosines, 100)}
    near, matching = dict(dense), dict(sparse)
    both = near.keys() & matching.keys()
    for one in both:
        for other in both:
            if near[one] > near[other] and matching[one] > matching[other]:
                assert fused[one] >= fused[other]


def test_rrf_is_the_published_sum() -> None:
    assert rrf([(7, 0.9), (8, 0.5)], [(8, 3.0)]) == {7: 1 / 61, 8: 1 / 62 + 1 / 61}


def test_weighted_is_the_published_sum() -> None:
    scores = weighted({1: 0.2, 2: 0.6, 3: 1.0}, [(2, 8.0), (1, 4.0)], 0.5)
    assert scores == pytest.approx({1: 0.25, 2: 0.75, 3: 0.5})


def test_equal_scores_do_not_divide_by_zero() -> None:
    assert weighted({1: 0.5, 2: 0.5}, [], 0.3) == {1: 0.3, 2: 0.3}
    assert weighted({}, []) == {}


def test_a_single_side_keeps_its_own_scores() -> None:
    assert fuse("single", [], [(3, 2.5), (1, 2.5)], {}, 10) == [
        Fused(1, 2.5, None, 2, None, 2.5),
        Fused(3, 2.5, None, 1, None, 2.5),
    ]
    assert [one.score for one in fuse("single", [(3, 0.5)], [], {3: 0.5}, 10)] == [0.5]


@given(rankings())
def test_the_choice_is_a_mode_that_can_be_had_and_a_weight(
    given_rankings: tuple[Scored, Scored, dict[int, float]],
) -> None:
    dense, sparse, cosines = given_rankings
    scores = [score for _, score in dense], [score for _, score in sparse]
    low = min(cosines.values(), default=0.0)
    choice = choose(*scores, low)
    assert 0 <= choice.dense_weight <= 1
    if dense and sparse:
        assert choice.mode == "hybrid"
    elif dense or sparse:
        assert choice.mode == ("dense" if dense else "sparse")
    assert choice == choose(*scores, low)


def falling(tenth: float, count: int = 20) -> list[float]:
    """Scores from 1 down to 0, the tenth of them as given."""
    return [1.0, *[tenth] * 9, *[0.0] * (count - 10)]


@given(st.floats(0, 1), st.floats(0, 1), st.floats(0.001, 0.5))
def test_the_side_that_stands_out_more_weighs_more(near: float, matching: float, less: float) -> None:
    low = 0.0
    weight = confidence(falling(near), falling(matching), low)
    assert confidence(falling(near - less), falling(matching), low) >= weight
    assert confidence(falling(near), falling(matching - less), low) <= weight


@given(st.floats(0.01, 100), st.floats(0.01, 100))
def test_the_weight_depends_on_the_shape_of_scores_alone(cosine: float, bm25: float) -> None:
    weight = confidence(falling(0.5), falling(0.5), 0.0)
    scaled = confidence([cosine * s for s in falling(0.5)], [bm25 * s for s in falling(0.5)], 0.0)
    assert scaled == pytest.approx(weight)


def test_words_that_few_passages_hold_weigh_most() -> None:
    many = confidence(falling(0.8), falling(0.6), 0.0)
    few = confidence(falling(0.8), [9.0, 8.9, 8.8], 0.0)
    assert few < 0.5 < many


def test_equal_scores_say_nothing_for_their_side() -> None:
    flat = [0.3] * 20
    assert confidence(flat, falling(0.5), 0.3) < 0.2
    assert confidence(falling(0.5), flat, 0.0) > 0.9


@given(rankings(), st.floats(0, 1))
def test_a_given_weight_holds_whatever_the_default(
    given_rankings: tuple[Scored, Scored, dict[int, float]], a: float
) -> None:
    dense, sparse, cosines = given_rankings
    fused = fuse("weighted", dense, sparse, cosines, 100, a)
    assert {one.id: one.score for one in fused} == weighted(cosines, sparse, a)
    assert all(math.isfinite(one.score) for one in fused)


@given(rankings())
def test_all_the_weight_on_one_side_is_its_own_order(
    given_rankings: tuple[Scored, Scored, dict[int, float]],
) -> None:
    dense, sparse, cosines = given_rankings
    by_cosine = fuse("weighted", dense, sparse, cosines, 100, 1.0)
    by_bm25 = fuse("weighted", dense, sparse, cosines, 100, 0.0)
    matching = dict(sparse)
    for before, after in pairwise(by_cosine):
        assert cosines[before.id] >= cosines[after.id] - 1e-9
    for before, after in pairwise(by_bm25):
        assert matching.get(before.id, 0.0) >= matching.get(after.id, 0.0) - 1e-9
