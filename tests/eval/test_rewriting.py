"""True and false claims, and questions turned into others, by rule."""

import random

import pytest

from eval.abstention import ANSWERABLE, area, turned
from eval.answers import Shares, table
from eval.curve import Asked, parts, risks
from eval.curve import table as thresholds
from eval.rewriting import Gold, claims, exchanged, negated, opposed, renamed, renumbered, shortened, stated
from ragline.evaluation.beir import Dataset

PASSAGE = "The French army under Louis defeated the Saxons near Brell in 1812. It was the first battle of many."
GOLD = Gold("Where was the first battle fought?", "Brell", PASSAGE)


def draw() -> random.Random:
    return random.Random(0)


@pytest.mark.parametrize(
    ("question", "answer", "statement"),
    [
        ("Who defeated the Saxons?", "Louis", "Louis defeated the Saxons."),
        ("What is the capital of Orvan?", "Brell", "The capital of Orvan is Brell."),
        ("When was the museum opened?", "1812", "The museum opened, that was in 1812."),
        ("What did the museum show?", "boats", "The museum show boats."),
        ("Is it so?", "yes", ""),
    ],
)
def test_a_question_and_its_answer_are_a_statement(question: str, answer: str, statement: str) -> None:
    assert stated(question, answer) == statement


def test_each_rule_changes_one_thing() -> None:
    assert renumbered("It was in 1812.", draw()) not in ("", "It was in 1812.")
    assert renamed("It fell to Louis.", ["Otto"], draw()) == "It fell to Otto."
    assert exchanged("It was Louis who met Otto there.", draw()) == "It was Otto who met Louis there."
    assert negated("It was so.") == "It was not so."
    assert negated("It was not so.") == "It was so."
    assert opposed("It lies in the north.", draw()) == "It lies in the south."
    assert len(shortened("the very small old grey boat came back home", draw())) < 42
    for rule in (renumbered, opposed):
        assert rule("so it is", draw()) == ""


def test_claims_are_true_or_false_by_how_they_were_made() -> None:
    made = list(claims(GOLD, ["Saxons"], ["Otto", "Vienna"], ["herring"], draw()))
    assert {"copied", "stated"} <= {each.kind for each in made if each.true}
    assert {"copied, another number", "copied, opposite"} <= {each.kind for each in made if not each.true}
    assert len({each.text for each in made}) > 5


def test_questions_are_turned_only_where_their_passage_is_in() -> None:
    data = Dataset(
        name="battles",
        corpus={"a": {"title": "", "text": PASSAGE}},
        queries={"q": "Which was the first battle in 1812?"},
        judgements={"q": {"a": 1}},
        gold={"q": ["Brell"]},
    )
    kept, other = turned(data, "q", {"a"}, draw())
    assert kept.kind == ANSWERABLE
    assert other.query != kept.query
    assert [each.kind for each in turned(data, "q", set(), draw())] == ["out"]


def test_the_curve_falls_where_the_chance_is_right() -> None:
    rows = [Asked(True, 0.9, True), Asked(True, 0.8, True), Asked(True, 0.3, False), Asked(False, 0.1, False)]
    assert area(*parts(rows)) == 1.0
    coverage, risk = risks(rows, [row.chance for row in rows])
    assert coverage.tolist() == [0.25, 0.5, 0.75, 1.0]
    assert risk.tolist() == [0.0, 0.0, pytest.approx(1 / 3), 0.5]
    assert "| 0.2 | 0.000 | 1.000 | 1.000 | 0.750 | 0.333 |" in thresholds(rows)


def test_ways_of_answering_stand_side_by_side() -> None:
    shares = Shares(3, 1.0, 1.0, 0.0, 1.0, 2, 0.5, 1.0, 0.25, 0.0, 12.0)
    lines = table({"checked": shares, "unchecked": shares}).splitlines()
    assert lines[0] == "| | checked | unchecked |"
    assert "| unsupported | 0.250 | 0.250 |" in lines
