"""Properties of the two ways to join rankings."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.retriever.fusion import Fused, fuse, rrf, weighted

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
    scores = weighted({1: 0.2, 2: 0.6, 3: 1.0}, [(2, 8.0), (1, 4.0)])
    assert scores == pytest.approx({1: 0.25, 2: 0.75, 3: 0.5})


def test_equal_scores_do_not_divide_by_zero() -> None:
    assert weighted({1: 0.5, 2: 0.5}, []) == {1: 0.5, 2: 0.5}
    assert weighted({}, []) == {}


def test_a_single_side_keeps_its_own_scores() -> None:
    assert fuse("single", [], [(3, 2.5), (1, 2.5)], {}, 10) == [
        Fused(1, 2.5, None, 2, None, 2.5),
        Fused(3, 2.5, None, 1, None, 2.5),
    ]
    assert [one.score for one in fuse("single", [(3, 0.5)], [], {3: 0.5}, 10)] == [0.5]
