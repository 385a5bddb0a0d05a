"""The measurement of reranking, on a small scale: every figure that needs no other project comes out."""

from pathlib import Path

import pytest

from bench.reranking import calls, classifier, crossing, keeping, peer, scoring
from services.reranker.roster import hook
from services.reranker.scorers import Candidate
from services.reranker.scorers._open import open_scorer


@pytest.mark.models
def test_scoring_is_timed_and_what_is_kept_is_counted(minilm: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(peer, "installed", lambda: False)
    monkeypatch.setattr(scoring, "PASSAGES", 4)
    monkeypatch.setattr(scoring, "PIECES", 30)
    monkeypatch.setattr(scoring, "ROUNDS", 2)
    rows = scoring.measure(minilm, minilm)
    assert [row.name for row in rows] == ["rerank: ms of scoring", "rerank: KB kept a passage"]
    assert rows[0].value > 0
    assert rows[1].value == pytest.approx(30 * 48 / 1000)
    assert crossing.measure(minilm) == []


@pytest.mark.models
async def test_the_classifier_is_one_that_any_library_reads(minilm: Path, tmp_path: Path) -> None:
    made = classifier.write(minilm, tmp_path / "made")
    with scoring.parts(made, 1) as parts:
        scorer = open_scorer("cross_encoder", parts, {"model": "made", "runtime": "onnxruntime"})
        await hook(scorer, "start")()
        scores = await scorer.score("which harbour", [Candidate("the harbour"), Candidate("a kitchen")], None)
        await hook(scorer, "close")()
    assert all(0 < score < 1 for score in scores)


@pytest.mark.models
@pytest.mark.stack
def test_calls_and_keeping_are_timed(minilm: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for module, name, value in (
        (calls, "PASSAGES", 4),
        (calls, "PIECES", 20),
        (calls, "CALLS", 5),
        (calls, "COLD", 1),
        (keeping, "ROUNDS", 1),
        (keeping, "BATCH", 4),
        (keeping, "PIECES", 20),
    ):
        monkeypatch.setattr(module, name, value)
    rows = [*calls.measure(tmp_path / "suite"), keeping.measure(minilm, tmp_path)]
    assert len(rows) == 4
    assert all(row.value > 0 for row in rows)
