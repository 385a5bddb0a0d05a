"""Questions in passages: the sentence behind one answers it; one that repeats the query answers nothing."""

from __future__ import annotations

import pytest

from ragline.v1.passage_pb2 import Passage
from ragline.v1.retriever_pb2 import Hit
from services.generator.checks.evidence import split
from services.generator.checks.pieces import Pieces
from services.generator.checks.questions import following, repeats
from services.generator.events import Ranked


def led(*texts: str) -> dict[str, str]:
    """Each sentence that knows the question before it, with that."""
    passages = [Passage(document_id=str(n), text=text) for n, text in enumerate(texts)]
    found = list(following(split(passages)))
    assert [(each.passage, each.start) for each in found] == [
        (each.passage, each.start) for each in split(passages)
    ]
    return {
        each.text: passages[each.passage].text[each.begin : each.start].strip()
        for each in found
        if each.question is not None
    }


@pytest.mark.parametrize(
    "question",
    [
        "## What does a ticket cost?",
        "**Q: What does a ticket cost?**",
        "What does a ticket cost?",
        "\u7968\u306f\u3044\u304f\u3089\u3067\u3059\u304b\uff1f",
    ],
)
def test_the_sentence_behind_a_question_knows_it(question: str) -> None:
    text = f"Welcome to the zoo.\n\n{question}\n\nAdults pay 12 euros. Children pay 6 euros."
    assert led(text) == {"Adults pay 12 euros.": question}


def test_what_is_no_answer_is_skipped() -> None:
    assert led("May I smoke?\nNo.\nThere is a place outside.") == {
        "There is a place outside.": "May I smoke?\nNo."
    }


@pytest.mark.parametrize(
    "text",
    [
        "What does it cost?\n\n## Dogs\n\nThey stay outside with you.",
        '$ ragline ask "What does it cost?"\n\nThe answer comes at once.',
        'curl -d \'{"query": "What does it cost?"}\'\n\nThe answer comes at once.',
        "“What does it cost?” The man laughed at that.",
        "The zoo has a shop. It opens at nine.",
    ],
)
def test_a_question_in_code_or_in_a_mouth_or_under_another_heading_is_nobodys(text: str) -> None:
    assert led(text) == {}


def test_a_question_does_not_reach_into_the_next_passage() -> None:
    assert led("What does it cost?", "Adults pay 12 euros.") == {}


def test_the_answer_is_scored_together_with_its_question() -> None:
    text = "## Where do I park?\n\nBehind the station."
    hit = Hit(passage=Passage(title="FAQ", text=text))
    answer = list(following(split([hit.passage])))[-1]
    [candidate] = Pieces([answer], [Ranked(hit, 0.5, 1)]).candidates
    assert candidate.text[candidate.spans[0] : candidate.spans[1]] == text
    widened = Hit(passage=hit.passage, own_start=21, own_end=len(text))  # the question is a neighbour's
    [alone] = Pieces([answer], [Ranked(widened, 0.5, 1)]).candidates
    assert (alone.text, list(alone.spans)) == (f"FAQ\n{text}", [])


@pytest.mark.parametrize(
    ("query", "text", "expected"),
    [
        ("How is a lost message retried?", 'ragline ask "How is a lost message retried?"', True),
        ("how is a lost message retried", '{"query": "How is a lost message retried?"}', True),
        ("How is a lost message retried?", "A lost message is retried five times.", False),
        ("How is a message retried?", "How is a lost message retried?", False),
        ("retry of lost messages", "The retry of lost messages takes a second.", False),
        ("Who is Ada?", 'She asked: "Who is Ada?"', False),
    ],
)
def test_a_text_that_has_the_question_in_it_is_known(query: str, text: str, expected: bool) -> None:
    assert repeats(query, text) is expected
