import math
from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ragline.errors import Internal, InvalidRequest, TooLarge
from services.reranker.rerank import Limits, Reranker
from services.reranker.scorers import Candidate, Match, Scorer, Statistics


class Told:
    """Says the scores that it was told."""

    name = "told"

    def __init__(self, scores: Sequence[float]) -> None:
        self.scores = scores

    async def score(
        self, query: str, passages: Sequence[Candidate], statistics: Statistics | None
    ) -> Sequence[float]:
        return self.scores


class Explaining(Told):
    async def explain(self, query: str, passages: Sequence[str]) -> Sequence[Sequence[Match]]:
        return [[Match(0, len(text), 0, len(query), 1.0)] for text in passages]


def reranker(scores: Sequence[float], limits: Limits | None = None, **more: Scorer) -> Reranker:
    return Reranker({"told": Told(scores), **more}, "told", limits or Limits())


def passages(count: int) -> list[Candidate]:
    return [Candidate(f"passage {number}") for number in range(count)]


@given(st.lists(st.sampled_from([-1.0, 0.0, 0.5, 2.0]), max_size=12), st.integers(1, 15))
async def test_best_first_and_equals_in_their_order(scores: list[float], top_n: int) -> None:
    ranking = await reranker(scores).rerank("q", passages(len(scores)), top_n=top_n)
    expected = sorted(enumerate(scores), key=lambda pair: (-pair[1], pair[0]))[:top_n]
    assert [(each.index, each.score) for each in ranking.scores] == expected
    assert all(each.matches is None for each in ranking.scores)


@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf])
async def test_what_is_no_number_is_an_error(bad: float) -> None:
    with pytest.raises(Internal, match=r"told gave .* for passages\[1\]"):
        await reranker([0.1, bad]).rerank("q", passages(2))


async def test_a_wrong_number_of_scores_is_an_error() -> None:
    with pytest.raises(Internal, match="1 scores for 2 passages"):
        await reranker([0.1]).rerank("q", passages(2))


async def test_a_scorer_may_be_chosen() -> None:
    both = reranker([0.1, 0.2], other=Told([0.2, 0.1]))
    ranking = await both.rerank("q", passages(2), scorer="other")
    assert (ranking.scorer, ranking.scores[0].index) == ("other", 0)


async def test_an_unknown_scorer_is_refused_with_those_there_are() -> None:
    with pytest.raises(InvalidRequest, match="there is other, told") as caught:
        await reranker([], other=Told([])).rerank("q", [], scorer="nothing")
    assert caught.value.errors[0]["field"] == "scorer"


@pytest.mark.parametrize("query", ["", " \n\t"])
async def test_an_empty_query_is_refused(query: str) -> None:
    with pytest.raises(InvalidRequest) as caught:
        await reranker([0.1]).rerank(query, passages(1))
    assert caught.value.errors[0]["field"] == "query"


@pytest.mark.parametrize(
    ("limits", "field", "setting"),
    [
        (Limits(max_query_chars=0), "query", "RERANKER_MAX_QUERY_CHARS=0"),
        (Limits(max_passages=1), "passages", "RERANKER_MAX_PASSAGES=1"),
        (Limits(max_passage_chars=8), "passages[0]", "RERANKER_MAX_PASSAGE_CHARS=8"),
        (Limits(max_total_chars=17), "passages", "RERANKER_MAX_TOTAL_CHARS=17"),
    ],
)
async def test_what_is_over_a_limit_is_refused_naming_it(limits: Limits, field: str, setting: str) -> None:
    with pytest.raises(TooLarge) as caught:
        await reranker([0.1, 0.2], limits).rerank("q", passages(2))
    assert setting in caught.value.detail
    assert caught.value.errors[0]["field"] == field


async def test_explain_follows_the_ranking() -> None:
    chosen = reranker([], explaining=Explaining([0.1, 0.3, 0.2]))
    texts = [Candidate(text) for text in ("a", "bb", "ccc")]
    ranking = await chosen.rerank("q", texts, scorer="explaining", explain=True, top_n=2)
    assert [(each.index, [m.end for m in each.matches or ()]) for each in ranking.scores] == [(1, [2]), (2, [3])]


async def test_explain_is_refused_by_a_scorer_that_cannot() -> None:
    with pytest.raises(InvalidRequest, match="told cannot explain"):
        await reranker([0.1]).rerank("q", passages(1), explain=True)
