"""What every scorer keeps; a new file in scorers/ is tested without being named here."""

import inspect
import math
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio

from ragline import backends
from ragline.settings import SettingsError
from services.reranker.roster import hook
from services.reranker.scorers import Candidate, Parts, Scorer, Statistics
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


def options(name: str, classifier: Path) -> dict[str, Any]:
    """The tiny classifier for an option ``model`` that has no default; another such option is a reason to skip."""
    try:
        parameters = inspect.signature(backends.find(PACKAGE, name)).parameters.values()
    except SettingsError as error:
        pytest.skip(str(error))
    needed = [p.name for p in parameters if p.default is p.empty and p.name != "parts"]
    if unknown := [each for each in needed if each != "model"]:
        pytest.skip(f"{name} needs the option {unknown[0]}, of which nothing is known here")
    return {"model": str(classifier)} if needed else {}


def marked(name: str) -> Any:
    marks = {"late_interaction": pytest.mark.models, "sentence_transformer": pytest.mark.torch}
    return pytest.param(name, marks=marks.get(name, ()))


@pytest_asyncio.fixture(params=[marked(name) for name in backends.names(PACKAGE)])
async def scorer(request: pytest.FixtureRequest, parts: Parts, classifier: Path) -> AsyncIterator[Scorer]:
    with options_for(request.param) as served:
        given = served or options(request.param, classifier)
        if request.param == "late_interaction":
            given = {"model": str(request.getfixturevalue("minilm"))}
        try:
            made = open_scorer(request.param, parts, given)
        except SettingsError as error:
            pytest.skip(str(error))
        await hook(made, "start")()
        yield made
        await hook(made, "close")()


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
