"""``ragline eval``: what it says before and after a measurement; a whole one is in tests/ragline/evaluation."""

import importlib
import sys
from pathlib import Path

import pytest
import typer
from typer.testing import CliRunner

from ragline.cli import eval as evals
from ragline.cli.client import Failure
from ragline.evaluation.figures import Measured, Values
from ragline.evaluation.report import Comparison
from tests.ragline.evaluation import boats


def compared(*labels: str) -> Comparison:
    """Each scorer worse than the one before."""
    queries = [f"q{number}" for number in range(20)]
    scorers = {
        label: Values(
            ndcg={query: 0.9 - 0.1 * place - 0.001 * number for number, query in enumerate(queries)},
            mrr=dict.fromkeys(queries, 1.0),
            seconds=[] if label == "none" else [0.001] * 20,
            pairs=0 if label == "none" else 100,
            faults={},
        )
        for place, label in enumerate(labels)
    }
    part = Measured("set[1]", 100, 20, 5, 0.9, 0.95, ["something is odd"], scorers)
    return Comparison([part], labels, labels[0], 0, {"candidates": 5}, {})


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["overlap", "--data", "nowhere"], "nowhere/corpus.jsonl cannot be read"),
        (["a b", "--data", "boats"], "'a b' names no scorer"),
        (["overlap", "--data", "boats", "--split", "dev"], "dev.tsv is not there; there is test."),
        (["overlap", "--data", "boats", "--output", "boats/corpus.jsonl"], "cannot be written to"),
    ],
)
def test_what_is_wrong_is_said_before_anything_starts(
    words: list[str], says: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    boats.write(tmp_path / "boats")
    monkeypatch.chdir(tmp_path)
    ended = CliRunner().invoke(evals.app, ["reranker", *words])
    assert isinstance(ended.exception, Failure)
    assert says in str(ended.exception)


def test_says_what_is_missing_for_a_plot(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delitem(sys.modules, "ragline.evaluation.plot", raising=False)
    monkeypatch.setitem(sys.modules, "matplotlib.axes", None)
    with pytest.raises(Failure, match=r"pip install 'ragline\[eval\]'"):
        evals.plotting(tmp_path)


def test_the_gate_ends_with_a_status(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(typer.Exit) as ended:
        evals.check(compared("old", "new", "none"), "new", 0.01)
    assert ended.value.exit_code == 1
    evals.check(compared("new", "none"), "new", 0.01)
    said = capsys.readouterr().out
    assert "✗ new loses 0.100 nDCG@10" in said
    assert "✓ new is not worse than none" in said


def test_tells_and_writes(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    comparison = compared("old", "new", "none")
    evals.tell(comparison)
    evals.write(comparison, tmp_path, importlib.import_module("ragline.evaluation.plot"))
    said = capsys.readouterr().out
    assert "-0.100 [-0.100, -0.100]" in said
    assert "set[1]: something is odd." in said
    assert {path.name for path in tmp_path.iterdir()} == {
        *("reranker.md", "reranker.json", "reranker.svg", "reranker.png")
    }
