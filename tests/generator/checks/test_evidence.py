"""Sentences, their scores and their spans in the source."""

import pytest

from services.generator.checks import evidence
from services.generator.checks.evidence import Sentence
from tests.generator import world

PASSAGES = [world.passage(name) for name in world.SOURCES]


def test_spans_point_into_the_source() -> None:
    for each in evidence.split(PASSAGES, 100):
        passage = PASSAGES[each.passage]
        start, end, quote = evidence.span(passage, each.start, each.end)
        assert quote == world.SOURCES[passage.document_id][1][start:end]
        assert " ".join(quote.split()) == " ".join(each.text.split())


def test_a_sentence_that_two_passages_share_is_taken_once() -> None:
    assert evidence.split([PASSAGES[0], PASSAGES[0]], 100) == evidence.split(PASSAGES[:1], 100)


def test_the_limit_keeps_the_best_passages_sentences() -> None:
    found = evidence.split(PASSAGES, 5)
    assert [each.passage for each in found] == [0, 0, 0, 0, 1]


def test_overlap_weighs_rare_words_more() -> None:
    texts = ["the router and the warranty", "the router", "the ferry"]
    overlap = evidence.Overlap("the warranty of the router", [*texts, "the router again"])
    scores = [overlap.share(text) for text in texts]
    assert scores == sorted(scores, reverse=True)
    assert all(0 <= score <= 1 for score in scores)
    assert evidence.Overlap("", texts).share("any") == 0
    assert evidence.Overlap("who is that", []).share("that is it") > 0.5


def test_words_are_folded() -> None:
    assert evidence.words("The Router's warranties, U.S. 1,000 \u6f22\u5b57!") == [
        "the", "router", "warranty", "u.s", "1,000", "\u6f22", "\u5b57",
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("text", "can"),
    [
        ("The reset takes ten seconds.", True),
        ("Port: 8002", True),
        ("## How to reset the router", False),
        ("How long does the reset take?", False),
        ('ragline ask "How is a lost message retried?"', False),
        ("**How.", False),
        ("Yes.", False),
    ],
)
def test_headings_questions_and_fragments_answer_nothing(text: str, can: bool) -> None:
    sentence = Sentence(0, 0, len(text), text)
    assert sentence.answers is can
    other = Sentence(0, 0, 9, "Something that says little.")
    first = evidence.scored([sentence, other], [0.9, 0.1], [0.5])[0]
    assert first.text == (text if can else other.text)


def test_scores_add_the_passages() -> None:
    found = evidence.split(PASSAGES[:2], 100)
    best = evidence.scored(found, [0.0] * len(found), [0.1, 0.9])[0]
    assert (best.passage, best.score) == (1, 0.45)
