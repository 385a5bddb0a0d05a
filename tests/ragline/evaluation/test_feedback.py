"""Data sets made of feedback."""

import hashlib
import json
from pathlib import Path
from typing import Any

import pytest

from ragline.evaluation import beir, feedback


def passage(name: str, text: str = "") -> dict[str, Any]:
    text = text or f"The text of {name}."
    digest = hashlib.sha256(text.encode()).hexdigest()
    return {"id": name, "document_id": name, "title": "", "text": text, "sha256": digest}


def vote(
    number: int,
    question: str,
    rating: str,
    answer: str,
    *,
    cited: tuple[str, ...] = (),
    corrected: str = "",
    given: tuple[dict[str, Any], ...] = (passage("a#0"), passage("b#0")),
) -> dict[str, Any]:
    made = {
        "question": question,
        "query": "",
        "collection": "default",
        "passages": list(given),
        "citations": [{"passage_id": each} for each in cited],
        "answer": answer,
        "abstained": not cited,
        "prompt": "extract@1",
        "model": "extractive",
    }
    said = {"id": f"f{number}", "rating": rating, "corrected_answer": corrected}
    return {**said, "answer": made}


VOTES = [
    vote(1, "How long?", "up", "Two years. [1]", cited=("a#0",)),
    vote(2, "how  long?", "down", "Ten. [1]", cited=("b#0",), corrected="Two years."),
    vote(3, "Who?", "down", "Nobody. [1]", cited=("b#0",)),
    vote(4, "Where?", "up", "There. [1]", cited=("b#0",), given=(passage("b#0", "It was changed."),)),
    vote(5, "When?", "up", "No passage says."),
]


def lines(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text().splitlines()]


def test_beir_is_read_by_the_evaluation(tmp_path: Path) -> None:
    counts = feedback.write("beir", VOTES, tmp_path)
    assert counts == {"corpus.jsonl": 3, "queries.jsonl": 2, "qrels/test.tsv": 3}
    data = beir.read(tmp_path)
    relevant = {data.queries[query]: sorted(grades) for query, grades in data.judgements.items()}
    changed = next(name for name in data.corpus if "@" in name)
    assert relevant == {"How long?": ["a#0"], "Where?": [changed]}
    assert data.corpus[changed]["text"] == "It was changed."
    assert data.unknown_documents == data.unknown_queries == 0
    assert [data.gold[query] for query in data.queries if data.queries[query] == "How long?"] == [["Two years."]]


def test_votes_outweigh_each_other(tmp_path: Path) -> None:
    against = vote(6, "Where?", "down", "There. [1]", cited=("b#0",), given=(passage("b#0", "It was changed."),))
    feedback.write("beir", [*VOTES, against], tmp_path)
    assert set(beir.read(tmp_path).queries.values()) == {"How long?"}


def test_examples_are_good_answers_each_once(tmp_path: Path) -> None:
    feedback.write("jsonl", [*VOTES, VOTES[0]], tmp_path)
    found = [(each["question"], each["answer"], each["source"]) for each in lines(tmp_path / "examples.jsonl")]
    assert found == [
        ("How long?", "Two years. [1]", "up"),
        ("how  long?", "Two years.", "corrected"),
        ("Where?", "There. [1]", "up"),
    ]


def test_preferences_pair_better_with_worse(tmp_path: Path) -> None:
    feedback.write("preferences", VOTES, tmp_path)
    found = [(each["chosen"], each["rejected"], each["source"]) for each in lines(tmp_path / "preferences.jsonl")]
    assert found == [("Two years.", "Ten. [1]", "corrected"), ("Two years. [1]", "Ten. [1]", "rated")]


@pytest.mark.parametrize("kind", feedback.KINDS)
def test_the_same_feedback_gives_the_same_files(tmp_path: Path, kind: str) -> None:
    for name in ("one", "two"):
        feedback.write(kind, VOTES, tmp_path / name)
    for path in (tmp_path / "one").rglob("*.*"):
        assert path.read_bytes() == (tmp_path / "two" / path.relative_to(tmp_path / "one")).read_bytes()
