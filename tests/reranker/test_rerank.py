import math
from collections.abc import Sequence
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ragline import context
from ragline.errors import InvalidRequest, TimedOut, TooLarge
from services.reranker.rerank import Limits, Reranker
from services.reranker.scorers import Candidate, Match, Scorer, Statistics
from services.reranker.scorers._calibration import Logistic
from tests.reranker.rosters import roster


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


class Lengths(Told):
    """Scores by length."""

    async def score(
        self, query: str, passages: Sequence[Candidate], statistics: Statistics | None
    ) -> Sequence[float]:
        return [len(each.text) for each in passages]


class Spanning(Lengths):
    async def spans(
        self, query: str, passages: Sequence[Candidate], statistics: Statistics | None
    ) -> Sequence[Sequence[float]]:
        return [[start + end / 10 for start, end in each.spans] for each in passages]


def reranker(scores: Sequence[float], limits: Limits | None = None, **more: Scorer) -> Reranker:
    return Reranker(roster({"told": Told(scores), **more}), limits or Limits())


def passages(count: int) -> list[Candidate]:
    return [Candidate(f"passage {number}") for number in range(count)]


@given(st.lists(st.sampled_from([-1.0, 0.0, 0.5, 2.0]), max_size=12), st.integers(1, 15))
async def test_best_first_and_equals_in_their_order(scores: list[float], top_n: int) -> None:
    ranking = await reranker(scores).rerank("q", passages(len(scores)), top_n=top_n)
    expected = sorted(enumerate(scores), key=lambda pair: (-pair[1], pair[0]))[:top_n]
    assert [(each.index, each.raw) for each in ranking.scores] == expected
    assert all(each.matches is None for each in ranking.scores)
    assert (ranking.scorer, list(ranking.degraded)) == ("told", [])


async def test_scores_are_calibrated_and_the_order_is_by_the_raw_ones() -> None:
    chances = {"told": Logistic(slope=1e-30, middle=0.0)}
    chosen = Reranker(roster({"told": Told([1.0, 3.0, 2.0])}), Limits(), calibrations=chances)
    ranking = await chosen.rerank("q", passages(3))
    assert [(each.index, each.raw, each.score) for each in ranking.scores] == [
        (1, 3, 0.5),
        (2, 2, 0.5),
        (0, 1, 0.5),
    ]
    [best, *_] = (await reranker([1.0, 3.0, 2.0]).rerank("q", passages(3))).scores
    assert best.score == pytest.approx(1 / (1 + math.exp(-3)))


async def test_a_scorer_may_be_chosen() -> None:
    both = reranker([0.1, 0.2], other=Told([0.2, 0.1]))
    ranking = await both.rerank("q", passages(2), scorer="other")
    assert (ranking.scorer, ranking.scores[0].index) == ("other", 0)


@pytest.mark.parametrize("name", ["nothing", ""])
async def test_an_unknown_scorer_is_refused(name: str) -> None:
    with pytest.raises(InvalidRequest) as caught:
        await reranker([], other=Told([])).rerank("q", [], scorer=name)
    assert caught.value.errors[0]["field"] == "scorer"
    assert ("there is other, told" in caught.value.detail) == bool(name)


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
        (Limits(max_spans=3), "passages", "RERANKER_MAX_SPANS=3"),
    ],
)
async def test_what_is_over_a_limit_is_refused_naming_it(limits: Limits, field: str, setting: str) -> None:
    asked = [replace(each, spans=[(0, 3), (3, 4)]) for each in passages(2)]
    with pytest.raises(TooLarge) as caught:
        await reranker([0.1, 0.2], limits).rerank("q", asked)
    assert setting in caught.value.detail
    assert caught.value.errors[0]["field"] == field


async def test_nothing_is_done_after_the_deadline() -> None:
    with context.bind(timeout_s=0), pytest.raises(TimedOut):
        await reranker([0.1]).rerank("q", passages(1))


async def test_explain_follows_the_ranking() -> None:
    chosen = reranker([], explaining=Explaining([0.1, 0.3, 0.2]))
    texts = [Candidate(text) for text in ("a", "bb", "ccc")]
    ranking = await chosen.rerank("q", texts, scorer="explaining", explain=True, top_n=2)
    assert [(each.index, [m.end for m in each.matches or ()]) for each in ranking.scores] == [(1, [2]), (2, [3])]


async def test_explain_is_refused_by_a_scorer_that_cannot() -> None:
    with pytest.raises(InvalidRequest, match="told cannot explain"):
        await reranker([0.1]).rerank("q", passages(1), explain=True)


@pytest.mark.parametrize(
    ("scorer", "spans"), [(Lengths([]), [[3.0], (), [1.0, 0.0]]), (Spanning([]), [[0.3], (), [1.2, 0.0]])]
)
async def test_spans_are_scored_in_raw_by_the_scorers_own_way_or_as_passages(
    scorer: Scorer, spans: list[Sequence[float]]
) -> None:
    asked = [Candidate("ab", spans=[(1, 2), (0, 0)]), Candidate("abcd"), Candidate("abcde", spans=[(0, 3)])]
    ranking = await Reranker(roster({"own": scorer}), Limits()).rerank("q", asked)
    assert [each.index for each in ranking.scores] == [2, 1, 0]
    assert [each.spans for each in ranking.scores] == spans
    cut = await Reranker(roster({"own": scorer}), Limits()).rerank("q", asked, top_n=2)
    assert [each.spans for each in cut.scores] == spans[:2]
