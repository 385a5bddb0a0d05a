"""A whole comparison: real services, a real search, real scorers, one of them broken."""

import asyncio
from collections.abc import Iterator
from pathlib import Path

import pytest

from ragline.cli.client import Client
from ragline.evaluation import EvaluationError, beir
from ragline.evaluation.asked import parse_all, settings
from ragline.evaluation.comparing import Wishes, answers, calibrations, suite
from ragline.evaluation.corpus import batches, numbered
from ragline.evaluation.figures import measured, rows
from ragline.evaluation.measuring import Judged, stored
from ragline.evaluation.processes import Services
from ragline.evaluation.settings import environment
from tests.ragline.evaluation import boats

pytestmark = [pytest.mark.stack, pytest.mark.models]

WISHES = Wishes(queries=0, candidates=10, seed=0, cold=False, calibrate=True, timeout_s=60)
EVERY = parse_all(["overlap", "late_interaction", 'flat:overlap={"k1": 0, "phrases": 0}', "broken:Broken"])
LABELS = [asked.label for asked in EVERY]
BROKEN = """
class Broken:
    name = "broken"

    def __init__(self, parts):
        pass

    def score(self, query, passages, statistics):
        return [float("nan") if "trains" in query else 1.0 for _ in passages]
"""


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> beir.Dataset:
    return beir.read(boats.write(tmp_path_factory.mktemp("sets") / "boats"))


@pytest.fixture(scope="module")
def services(tmp_path_factory: pytest.TempPathFactory, minilm: Path) -> Iterator[Services]:
    """A private suite, from a folder that holds a scorer of one's own and settings that are nobody's business."""
    here = tmp_path_factory.mktemp("here")
    (here / "broken.py").write_text(BROKEN)
    (here / ".env").write_text("RERANKER_NONSENSE=1\n")
    told = {**suite(WISHES), **settings(EVERY), "RAGLINE_MODELS_DIR": str(minilm.parent)}
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(here)
        patch.setenv("RERANKER_SCORER", "nobody")
        patch.setenv("PREPROCESS_CACHE_URL", "redis://127.0.0.1:1/0")
        with Services(tmp_path_factory.mktemp("suite"), told) as running:
            yield running


@pytest.fixture(scope="module")
def judged(services: Services, data: beir.Dataset) -> list[Judged]:
    assert not asyncio.run(stored(services, numbered(data)))
    with Client(services.url("preprocess")) as client:
        return answers(services, client, data, WISHES, LABELS, lambda *_: None)


def test_every_scorer_orders_the_same_candidates(judged: list[Judged], data: beir.Dataset) -> None:
    assert [one.query for one in judged] == data.answerable
    for one in judged:
        assert 0 < len(one.documents) <= 10
        for label in ("overlap", "late_interaction", "flat"):
            answer = one.answers[label]
            assert sorted(answer.order) == list(range(len(one.documents)))
            assert [answer.raw[place] for place in answer.order] == sorted(answer.raw, reverse=True)
            assert answer.seconds > 0
    assert any(one.answers["flat"].raw != one.answers["overlap"].raw for one in judged)


def test_figures(judged: list[Judged], data: beir.Dataset) -> None:
    part = measured(data, judged, LABELS)
    found = {row.scorer: row for row in rows([part], LABELS, "overlap", 0)}
    assert list(found) == ["overlap", "late_interaction", "flat", "Broken", "none"]
    assert part.recall > 0.8
    assert found["late_interaction"].ndcg > 0.8
    assert found["none"].to_reference is not None
    assert sum(found["Broken"].faults.values()) == 2
    assert all("gave nan" in fault for fault in found["Broken"].faults)


def test_calibrations(judged: list[Judged], data: beir.Dataset) -> None:
    fits, unfit = calibrations(LABELS, [(data, judged)])
    assert {"overlap", "late_interaction"} <= fits.keys()
    assert any(reason.startswith("Broken cannot be calibrated") for reason in unfit)


@pytest.mark.usefixtures("judged")
def test_documents_go_in_once(services: Services, data: beir.Dataset) -> None:
    shown: list[str] = []
    few = Wishes(queries=2, candidates=3, seed=1, cold=False, calibrate=False, timeout_s=60)
    assert asyncio.run(stored(services, numbered(data)))
    with Client(services.url("preprocess")) as client:
        found = answers(services, client, data, few, ["none", "overlap"], lambda what, *_: shown.append(what))
    assert len(found) == 2
    assert set(shown) == {"boats: queries"}


def test_a_folder_is_for_one_at_a_time(services: Services) -> None:
    with pytest.raises(EvaluationError, match="is in use by another evaluation"), Services(services.folder, {}):
        pass


def test_what_stops_a_service_is_said(tmp_path: Path) -> None:
    every = settings(parse_all(['overlap={"k9": 1}']))
    with pytest.raises(EvaluationError, match=r"The reranker service did not start: overlap has no option 'k9'"):
        Services(tmp_path, every).__enter__()


def test_nothing_that_names_data_or_places_reaches_the_suite(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RAGLINE_BROKER_URL", "amqp://somebody")
    monkeypatch.setenv("PREPROCESS_MAX_TOKENS", "100")
    told = environment({"RERANKER_PORT": "1"})
    assert "RAGLINE_BROKER_URL" not in told
    assert (told["PREPROCESS_MAX_TOKENS"], told["RERANKER_PORT"]) == ("100", "1")


def test_documents_are_numbered_and_made_fit(data: beir.Dataset) -> None:
    texts = {"b": ("One\nline", " "), "a": ("", ""), "c": ("", "C.")}
    corpus = {key: {"title": title, "text": text} for key, (title, text) in texts.items()}
    odd = beir.Dataset("odd", corpus, {}, {}, {})
    found = numbered(odd)
    assert (found.ids, found.documents) == (("a", "b", "c"), 2)
    assert list(batches(odd, found)) == [
        [{"id": "1", "title": "One line", "text": "One\nline"}, {"id": "2", "title": "", "text": "C."}]
    ]
    assert numbered(data).collection != found.collection
