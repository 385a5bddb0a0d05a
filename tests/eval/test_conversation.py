"""The conversations that follow-ups are measured on: what was written, and what is made of SQuAD's layout."""

import json
from pathlib import Path
from typing import Any

from eval.conversation import made, switches, written
from services.generator.conversations.followups import alone


def paragraph(text: str, *asked: tuple[str, str]) -> dict[str, Any]:
    qas = [{"question": question, "answers": [{"text": answer}]} for question, answer in asked]
    return {"context": text, "qas": qas}


def articles(folder: Path) -> Path:
    rhine = paragraph(
        "The Rhine is 1,230 km long. It ends in the North Sea.",
        ("How long is the Rhine?", "1,230 km"),
        ("What is the Rhine's end?", "the North Sea"),
    )
    tesla = paragraph("Tesla was born in Smiljan.", ("Where was Tesla born?", "Smiljan"))
    data = [{"title": "Rhine", "paragraphs": [rhine]}, {"title": "Nikola_Tesla", "paragraphs": [tesla]}]
    (folder / "dev.json").write_text(json.dumps({"data": data}))
    return folder / "dev.json"


def test_the_written_conversations_are_many_and_whole() -> None:
    asked = list(written())
    assert len(asked) >= 60
    for each in asked:
        assert each.turns
        assert each.gold != each.question
        assert "::" in each.passage
    changed = sum(alone(each.question, each.turns) != each.question for each in asked)
    assert changed / len(asked) > 0.9


def test_names_of_articles_become_pronouns(tmp_path: Path) -> None:
    [asked] = made(articles(tmp_path), 10)
    assert asked.question == "What is its end?"
    assert asked.gold == "What is the Rhine's end?"
    assert asked.passage == "Rhine::0"
    assert asked.answers == ("the North Sea",)
    [turn] = asked.turns
    assert (turn.question, turn.answer) == ("How long is the Rhine?", "The Rhine is 1,230 km long. [1]")


def test_a_change_of_subject_is_a_question_of_another_article(tmp_path: Path) -> None:
    for asked in switches(articles(tmp_path), 8):
        assert asked.question == asked.gold
        assert ("Tesla" in asked.question) != ("Tesla" in asked.turns[0].question)
