"""What every scorer keeps; a new file in scorers/ is tested without being named here."""

import asyncio
import inspect
import math
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio

from ragline import backends
from ragline.settings import SettingsError
from services.reranker.roster import give_memory_back, hook
from services.reranker.scorers import Candidate, Parts, Scorer, Statistics
from services.reranker.scorers._calibration import calibrated
from services.reranker.scorers._open import PACKAGE, open_scorer
from tests.reranker.servers import options_for

QUERY = "How is a lost message retried?"
TEXTS = [
    "A lost message is retried after a back-off.",
    "The office opens at nine.",
    "",
    "?!",
    "Nul \x00 and bidi \u202e marks, an emoji 🙂, Ελληνικά and 漢字 and a lone accent \u0301",
    "word " * 3000,
]
STATISTICS = Statistics(1000, {2129: 900, 4471: 3})
# An option by which scores change; a scorer that keeps scores and is not here is held to the rest.
CHANGED: dict[str, dict[str, Any]] = {
    "cascade": {"margin": 0.3},
    "cross_encoder": {"max_tokens": 32},
    "http": {"max_chars": 100},
    "late_interaction": {"hybrid": 0.3},
    "llm": {"max_chars": 100},
    "overlap": {"k1": 1.0},
    "sentence_transformer": {"max_tokens": 32},
}


RUNTIME = {"cross_encoder": {"runtime": "onnxruntime"}}  # test_runtime.py is about the others


def options(name: str, classifier: Path) -> dict[str, Any]:
    """The tiny classifier for an option ``model`` that has no default; another such option is a reason to skip."""
    try:
        parameters = inspect.signature(backends.find(PACKAGE, name)).parameters.values()
    except SettingsError as error:
        pytest.skip(str(error))
    if name == "cascade":
        return {"first": "overlap", "then": "cross_encoder", "then_options": options("cross_encoder", classifier)}
    needed = [p.name for p in parameters if p.default is p.empty and p.name != "parts"]
    if unknown := [each for each in needed if each != "model"]:
        pytest.skip(f"{name} needs the option {unknown[0]}, of which nothing is known here")
    return {"model": str(classifier)} | RUNTIME.get(name, {}) if needed else {}


def marked(name: str) -> Any:
    marks = {"late_interaction": pytest.mark.models, "sentence_transformer": pytest.mark.torch}
    return pytest.param(name, marks=marks.get(name, ()))


@pytest.fixture(params=[marked(name) for name in backends.names(PACKAGE)])
def given(request: pytest.FixtureRequest, classifier: Path) -> Iterator[tuple[str, dict[str, Any]]]:
    """A scorer's name, and options with which it works; a server that it asks runs meanwhile."""
    name: str = request.param
    with options_for(name) as served:
        made = served or options(name, classifier)
        if name == "late_interaction":
            made = {"model": str(request.getfixturevalue("minilm"))}
        yield name, made


@pytest_asyncio.fixture
async def scorer(given: tuple[str, dict[str, Any]], parts: Parts) -> AsyncIterator[Scorer]:
    name, made = given
    opened = opened_or_skipped(name, parts, made)
    await hook(opened, "start")()
    yield opened
    await hook(opened, "close")()
    del opened
    if name == "late_interaction":
        give_memory_back()  # or models of many tests would lie about until somebody collects them


def opened_or_skipped(name: str, parts: Parts, given: dict[str, Any]) -> Scorer:
    try:
        return open_scorer(name, parts, given)
    except SettingsError as error:
        pytest.skip(str(error))


async def test_name_is_the_files(scorer: Scorer) -> None:
    assert scorer.name in backends.names(PACKAGE)


async def test_one_finite_score_a_passage(scorer: Scorer) -> None:
    passages = [Candidate(text, 0.1 * at, None if at % 2 else 3.0) for at, text in enumerate(TEXTS)]
    scores = await scorer.score(QUERY, passages, STATISTICS)
    assert len(scores) == len(passages)
    assert all(isinstance(score, float) and math.isfinite(score) for score in scores)


async def test_nothing_for_nothing(scorer: Scorer) -> None:
    assert list(await scorer.score(QUERY, [], None)) == []


async def test_same_input_same_scores(scorer: Scorer) -> None:
    passages = [Candidate(text) for text in TEXTS]
    assert list(await scorer.score(QUERY, passages, None)) == list(await scorer.score(QUERY, passages, None))


async def test_scores_follow_the_passages(scorer: Scorer) -> None:
    forward = await scorer.score(QUERY, [Candidate(text) for text in TEXTS], None)
    backward = await scorer.score(QUERY, [Candidate(text) for text in reversed(TEXTS)], None)
    assert list(forward) == pytest.approx(list(reversed(backward)), abs=1e-4)


async def test_equal_passages_get_equal_scores(scorer: Scorer) -> None:
    first, second = await scorer.score(QUERY, [Candidate(TEXTS[0]), Candidate(TEXTS[0])], None)
    assert first == pytest.approx(second, abs=1e-5)


@pytest.mark.parametrize("query", ["?", "\u200b", "a", "x" * 4000, "why " * 1000])
async def test_odd_queries(scorer: Scorer, query: str) -> None:
    scores = await scorer.score(query, [Candidate(text) for text in TEXTS], STATISTICS)
    assert all(math.isfinite(score) for score in scores)


async def test_several_at_once_keep_their_scores(scorer: Scorer) -> None:
    queries = [QUERY, "When does the office open?", "Who?"]
    passages = [Candidate(text) for text in TEXTS[:3]]
    together = await asyncio.gather(*(scorer.score(query, passages, None) for query in queries))
    for query, scores in zip(queries, together, strict=True):
        assert list(scores) == pytest.approx(list(await scorer.score(query, passages, None)), abs=1e-4)


async def test_calibration_rises_from_0_to_1(scorer: Scorer) -> None:
    scores = await scorer.score(QUERY, [Candidate(text) for text in TEXTS], None)
    raw = sorted([*scores, -1e308, -30.0, -1.0, -0.0, 0.0, 1e-9, 0.3, 0.99, 1.0, 1.5, 30.0, 1e308])
    chances = calibrated(scorer, raw)
    assert chances == sorted(chances)
    assert 0 <= chances[0] < chances[-1] <= 1


async def test_a_pairwise_score_is_of_the_pair_alone(scorer: Scorer) -> None:
    if not getattr(scorer, "pairwise", False):
        pytest.skip("its scores depend on more than the pair")
    together = await scorer.score(QUERY, [Candidate(text, 0.5, 1.0) for text in TEXTS], STATISTICS)
    [alone] = await scorer.score(QUERY, [Candidate(TEXTS[0])], None)
    assert alone == pytest.approx(together[0], abs=1e-4)


async def test_fingerprint_tells_the_options(given: tuple[str, dict[str, Any]], parts: Parts) -> None:
    name, made = given
    scorers = [opened_or_skipped(name, parts, each) for each in (made, made, made | CHANGED.get(name, {}))]
    prints = [getattr(scorer, "fingerprint", "") for scorer in scorers]
    for scorer in scorers:
        await hook(scorer, "close")()
    assert prints[0] == prints[1]
    assert not prints[0] or name not in CHANGED or prints[0] != prints[2]


async def test_explains_with_pieces_of_the_texts(scorer: Scorer) -> None:
    explain = getattr(scorer, "explain", None)
    if explain is None:
        pytest.skip("it explains nothing")
    assert list(await explain(QUERY, [])) == []
    made = await explain(QUERY, TEXTS)
    assert len(made) == len(TEXTS)
    for text, matches in zip(TEXTS, made, strict=True):
        assert all(0 <= match.start < match.end <= len(text) for match in matches)
        assert all(0 <= match.query_start < match.query_end <= len(QUERY) for match in matches)


async def test_one_finite_score_a_span(scorer: Scorer) -> None:
    spans = getattr(scorer, "spans", None)
    if spans is None:
        pytest.skip("it scores no spans")
    asked = [[(0, 6), (7, 15)], [], [(0, 0)], [(0, 2)], [(0, 3)], [(0, 100), (14_000, 14_990)]]
    passages = [Candidate(text, spans=places) for text, places in zip(TEXTS, asked, strict=True)]
    made = await spans(QUERY, passages, STATISTICS)
    assert [len(each) for each in made] == [len(each) for each in asked]
    assert all(math.isfinite(score) for each in made for score in each)
    assert list(await spans(QUERY, [], None)) == []
