"""The cascade with real scorers, and what holds for every order that two scorers can give."""

import asyncio
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ragline.errors import Internal, InvalidRequest, RaglineError, Unavailable
from ragline.settings import SettingsError
from services.reranker.roster import hook
from services.reranker.scorers import Candidate, Parts, Statistics
from services.reranker.scorers._calibration import UNIT
from services.reranker.scorers._open import open_scorer
from services.reranker.scorers.cascade import Cascade, open_runs, reordered

QUERY = "how is a lost message retried?"
TEXTS = [
    "A lost message is retried.",
    "The office opens at nine.",
    "A message that is lost is retried after a back-off, and a second time after a longer one.",
    "Who retries a lost parcel?",
    "Nothing here.",
    "Neither here.",
]


class Given:
    """Scores by a table of texts, and notes what it was asked."""

    def __init__(self, scores: dict[str, float], name: str = "given") -> None:
        self.name = name
        self.scores = scores
        self.asked: list[str] = []
        self.events: list[str] = []
        self.calibration = UNIT
        self.fingerprint = f"{name} {scores}"

    async def start(self) -> None:
        self.events.append("start")

    async def close(self) -> None:
        self.events.append("close")

    async def score(
        self, query: str, passages: Sequence[Candidate], statistics: Statistics | None
    ) -> Sequence[float]:
        self.asked = [passage.text for passage in passages]
        return [self.scores[text] for text in self.asked]


class Failing(Given):
    """Raises whatever it is asked."""

    def __init__(self, error: Exception) -> None:
        super().__init__({}, "failing")
        self.error = error

    async def start(self) -> None:
        raise self.error

    async def score(
        self, query: str, passages: Sequence[Candidate], statistics: Statistics | None
    ) -> Sequence[float]:
        raise self.error


def scored(first: Sequence[float], then: Sequence[float], **bounds: Any) -> tuple[list[float], list[int]]:
    """The cascade's scores, and which passages the second scorer was asked about."""
    names = [str(number) for number in range(len(first))]
    second = Given(dict(zip(names, then, strict=True)), "then")
    options = {"margin": 0.1, "keep": 10, "most": 20} | bounds
    cascade = Cascade(Given(dict(zip(names, first, strict=True)), "first"), second, **options)
    made = asyncio.run(cascade.score("?", [Candidate(name) for name in names], None))
    return list(made), [int(name) for name in second.asked]


def order(scores: Sequence[float]) -> list[int]:
    return sorted(range(len(scores)), key=lambda at: -scores[at])


def test_only_those_whose_order_is_open_are_asked_about() -> None:
    scores, asked = scored([0.9, 0.5, 0.45, 0.42, 0.1], [0.0, 0.1, 0.9, 0.5, 1.0])
    assert asked == [1, 2, 3]
    assert order(scores) == [0, 2, 3, 1, 4]
    assert sorted(scores) == pytest.approx([0.1, 0.42, 0.45, 0.5, 0.9])


def test_nothing_open_asks_nobody() -> None:
    assert scored([0.9, 0.5, 0.1], [0.0, 1.0, 2.0]) == ([0.9, 0.5, 0.1], [])


def test_runs_begin_within_the_first_places_and_are_cut_at_the_most() -> None:
    assert open_runs([0.9, 0.5, 0.49, 0.2, 0.19], 0.1, 2, 20) == [(1, 3)]
    assert open_runs([0.9, 0.5, 0.49, 0.2, 0.19], 0.1, 4, 20) == [(1, 3), (3, 5)]
    assert open_runs([0.9, 0.5, 0.49, 0.2, 0.19], 0.1, 4, 3) == [(1, 3)]
    assert open_runs([0.5] * 50, 0.1, 10, 20) == [(0, 20)]


def test_ties_of_the_first_scorer_are_decided_by_the_second() -> None:
    scores, _ = scored([0.5] * 5, [0.1, 0.2, 0.3, 0.4, 0.5], most=3)
    assert order(scores) == [2, 1, 0, 3, 4]


def test_equal_passages_get_equal_scores() -> None:
    made = reordered([0, 1, 2], [0.5, 0.5, 0.45], {0: 0.2, 1: 0.2, 2: 0.9}, 0.1)
    assert made[0] == made[1] < made[2]


@given(data=st.data())
def test_the_second_scorer_orders_the_open_ones_and_the_closed_ones_keep_their_places(data: st.DataObject) -> None:
    count = data.draw(st.integers(1, 30))
    chance = st.floats(0, 1) | st.sampled_from([0.0, 0.5, 0.55, 1.0])
    first = data.draw(st.lists(chance, min_size=count, max_size=count))
    then = data.draw(st.lists(st.floats(-9, 9), min_size=count, max_size=count))
    margin, keep = data.draw(st.sampled_from([0.01, 0.1, 0.5])), data.draw(st.integers(1, 12))
    most = data.draw(st.integers(2, 20))
    scores, asked = scored(first, then, margin=margin, keep=keep, most=most)
    before, after = order(first), order(scores)
    assert all(map(math.isfinite, scores))
    assert len(scores) == count
    assert len(asked) <= most
    assert all(after[place] == at for place, at in enumerate(before) if at not in asked)
    chances = [first[at] for at in before]
    for start, end in open_runs(chances, margin, keep, most):
        assert start < keep
        assert sorted(after[start:end]) == sorted(before[start:end])
        seconds = [then[at] for at in after[start:end]]
        assert seconds == sorted(seconds, reverse=True)
        assert all(
            high - low < margin for high, low in zip(chances[start:end], chances[start + 1 : end], strict=False)
        )


async def test_words_first_then_a_cross_encoder(parts: Parts, classifier: Path) -> None:
    inner = {"model": str(classifier), "runtime": "onnxruntime"}
    bounds = {"margin": 0.2, "most": 3}
    words, costly = open_scorer("overlap", parts, {}), open_scorer("cross_encoder", parts, inner)
    cascade = open_scorer(
        "cascade", parts, {"first": "overlap", "then": "cross_encoder", "then_options": inner} | bounds
    )
    passages = [Candidate(text) for text in TEXTS]
    for scorer in (costly, cascade):
        await hook(scorer, "start")()
    try:
        await hook(cascade, "check")()
        first, second = await words.score(QUERY, passages, None), await costly.score(QUERY, passages, None)
        both = await cascade.score(QUERY, passages, None)
    finally:
        for scorer in (costly, cascade):
            await hook(scorer, "close")()
    before = order(first)
    runs = open_runs([first[at] for at in before], 0.2, 10, 3)
    assert runs
    expected = list(before)
    for start, end in runs:
        expected[start:end] = sorted(before[start:end], key=lambda at: -second[at])
    assert order(both) == expected
    with pytest.raises(Unavailable):
        await hook(cascade, "check")()


@pytest.mark.parametrize("error", [Unavailable("gone"), InvalidRequest("no"), RuntimeError("odd")])
async def test_what_the_second_raises_is_raised(error: Exception) -> None:
    cascade = Cascade(Given({"a": 0.5, "b": 0.5}), Failing(error), 0.1, 10, 20)
    with pytest.raises(type(error)):
        await cascade.score("?", [Candidate("a"), Candidate("b")], None)


@pytest.mark.parametrize("scores", [{"a": 0.5, "b": math.nan}, {"a": math.inf, "b": 0.5}])
async def test_scores_that_are_no_numbers_are_refused(scores: dict[str, float]) -> None:
    fine = Given({"a": 0.5, "b": 0.5})
    for cascade in (Cascade(Given(scores), fine, 0.1, 10, 20), Cascade(fine, Given(scores), 0.1, 10, 20)):
        with pytest.raises(Internal):
            await cascade.score("?", [Candidate("a"), Candidate("b")], None)


async def test_what_started_is_closed_where_the_other_does_not_start() -> None:
    first = Given({})
    with pytest.raises(RaglineError):
        await Cascade(first, Failing(Unavailable("gone")), 0.1, 10, 20).start()
    assert first.events == ["start", "close"]


async def test_fingerprint_of_both_and_of_the_bounds() -> None:
    one, other, nobody = Given({"a": 0.1}), Given({"b": 0.2}), Given({})
    nobody.fingerprint = ""
    prints = {
        Cascade(one, other, 0.1, 10, 20).fingerprint,
        Cascade(other, one, 0.1, 10, 20).fingerprint,
        Cascade(one, other, 0.2, 10, 20).fingerprint,
        Cascade(one, other, 0.1, 9, 20).fingerprint,
        Cascade(one, other, 0.1, 10, 19).fingerprint,
    }
    assert len(prints) == 5
    assert Cascade(one, nobody, 0.1, 10, 20).fingerprint == ""


@pytest.mark.models
async def test_explains_and_scores_spans_as_the_first_does(parts: Parts, minilm: Path) -> None:
    inner = {"first_options": {"model": str(minilm)}, "then": "overlap"}
    cascade: Any = open_scorer("cascade", parts, inner)
    await hook(cascade, "start")()
    try:
        [matches] = await cascade.explain(QUERY, TEXTS[:1])
        assert {TEXTS[0][match.start : match.end] for match in matches} >= {"lost", "message"}
        [spans] = await cascade.spans(QUERY, [Candidate(TEXTS[0], spans=[(0, 6), (7, 14)])], None)
        assert len(spans) == 2
    finally:
        await hook(cascade, "close")()


def test_nothing_to_explain_with(parts: Parts) -> None:
    cascade = open_scorer("cascade", parts, {"first": "overlap", "then": "overlap"})
    assert not hasattr(cascade, "explain")
    assert not hasattr(cascade, "spans")


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({}, "then"),
        ({"then": "nothing"}, "'nothing' is none of the scorers"),
        ({"then": "overlap", "then_options": {"k": 1}}, "no option 'k'"),
        ({"then": "overlap", "first": "overlap", "most": 1}, "option 'most'"),
        ({"then": "overlap", "first": "overlap", "margin": 0}, "option 'margin'"),
    ],
)
def test_what_stops_the_start(parts: Parts, options: dict[str, Any], says: str) -> None:
    with pytest.raises(SettingsError, match=says):
        open_scorer("cascade", parts, {"first": "overlap"} | options)
