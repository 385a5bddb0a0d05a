"""Signs that a question only looks like one that the best sentence answers."""

from dataclasses import asdict

import pytest

from services.generator.checks import evidence
from services.generator.checks.lookalike import NO_SIGNS, signs
from services.generator.checks.opposites import OPPOSITES, opposites
from tests.generator import world

PASSAGES = [world.passage("brell"), world.passage("museum")]


def found(query: str) -> dict[str, float]:
    overlap = evidence.Overlap(query, [each.text for each in PASSAGES])
    pieces = evidence.split(PASSAGES)
    scored = evidence.scored(pieces, [overlap.share(each.text) for each in pieces], [0.0, 0.0])
    made = asdict(signs(query, scored, PASSAGES))
    return {name: value for name, value in made.items() if value and name != "lead"}


@pytest.mark.parametrize(
    ("query", "said"),
    [
        ("On which shore of Lake Orvan does the town of Brell lie?", {}),
        ("Where on the south shore of Lake Orvan does the town of Brell lie?", {"opposed": 1.0}),
        ("Which town does not lie on the north shore of Lake Orvan?", {"negated": 1.0}),
        ("When do the ferries not run?", {}),
        ("On which shore of Lake Geneva does the town of Brell lie?", {"name": 1.0}),
        ("Which town on the north shore has 5,300 inhabitants?", {"number": 1.0}),
        ("What do 6 euros buy at the museum?", {}),
    ],
)
def test_what_a_question_changes_is_a_sign(query: str, said: dict[str, float]) -> None:
    assert found(query) == said


def test_without_sentences_there_are_no_signs() -> None:
    assert signs("Who?", [], PASSAGES) == NO_SIGNS


def test_opposites_go_both_ways_and_none_is_its_own() -> None:
    for word, others in OPPOSITES.items():
        assert word not in others
        assert all(word in opposites(other) for other in others)
    assert opposites("queue") == frozenset()
