"""Passages are packed within their budget: the best sentences whole, in their order, nothing twice."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ragline.v1.passage_pb2 import Passage
from services.generator.checks.evidence import Sentence, split
from services.generator.prompt import tokens
from services.generator.prompts.packing import FENCE_TOKENS, packed, spoken
from services.generator.prompts.values import Shown
from tests.generator import world

PASSAGES = [world.passage(name) for name in world.SOURCES]
ROOM = 10_000


def cut(source: str, *spans: tuple[int, int], name: str = "doc") -> list[Passage]:
    """Passages of a document, by where they begin and end."""
    return [
        Passage(id=f"{name}#{n}", document_id=name, text=source[start:end], start=start, end=end)
        for n, (start, end) in enumerate(spans)
    ]


def cost(shown: list[Shown]) -> int:
    return sum(FENCE_TOKENS + tokens(each.heading) + tokens(each.text) for each in shown)


def texts(shown: list[Shown]) -> list[str]:
    return [each.text for each in shown]


TEXTS = st.lists(st.text(min_size=1, max_size=400), min_size=1, max_size=6)


@given(TEXTS, st.integers(60, 600))
def test_passages_fit_the_budget(given_: list[str], budget: int) -> None:
    passages = [Passage(document_id=str(n), text=text) for n, text in enumerate(given_)]
    shown = packed(passages, split(passages), budget, tokens, "best_first")
    assert cost(shown) <= budget + 4 * len(shown)  # for the white space and the marks between sentences


def test_the_best_stand_at_both_ends_or_first() -> None:
    source = "One is here. Two is there. Three is far. Four is near. Five is gone."
    passages = [Passage(document_id=str(n), text=text) for n, text in enumerate(source.split(". "))]
    first = packed(passages, [], ROOM, tokens, "best_first")
    assert [each.text.split()[0] for each in first] == ["One", "Two", "Three", "Four", "Five"]
    ends = packed(passages, [], ROOM, tokens, "ends")
    assert [each.text.split()[0] for each in ends] == ["One", "Three", "Five", "Four", "Two"]
    assert [each.number for each in ends] == [1, 2, 3, 4, 5]


def test_the_best_stand_last_or_where_the_document_has_them() -> None:
    source = "One is here.      Two is there.      Three is far."
    one, two, three = (source.index(word) for word in ("One", "Two", "Three"))
    other = Passage(id="other#0", document_id="other", text="Four is near.", end=13)
    far, here, there = cut(source, (three, len(source)), (one, one + 12), (two, two + 13))
    given_ = [far, other, here, there]
    last = packed(given_, [], ROOM, tokens, "best_last")
    assert [each.text.split()[0] for each in last] == ["Two", "One", "Four", "Three"]
    document = packed(given_, [], ROOM, tokens, "document")
    assert [each.text.split()[0] for each in document] == ["One", "Two", "Three", "Four"]


def test_a_passage_stands_under_its_heading() -> None:
    shown = packed(PASSAGES, split(PASSAGES), ROOM, tokens, "best_first")
    assert [each.heading for each in shown] == ["Brell", "Kestrel router", "Message queue", "Orvan museum"]
    assert texts(shown) == [each.text for each in PASSAGES]


def test_neighbours_become_one_passage_in_the_documents_order() -> None:
    source = (
        "The first sentence is here. The second one follows. The third is next.\n\nThe last one is apart from it."
    )
    one, two, three = source.index("The second"), source.index("The third"), source.index("The last")
    overlapping = cut(source, (one, three - 2), (0, two - 1))
    assert texts(packed(overlapping, [], ROOM, tokens, "best_first")) == [source[: three - 2]]
    following = cut(source, (three, len(source)), (0, two - 1), (two, three - 2))
    assert texts(packed(following, [], ROOM, tokens, "best_first")) == [
        "The first sentence is here. The second one follows. The third is next. The last one is apart from it."
    ]
    apart = cut(source, (0, one - 1), (three, len(source)))
    assert len(packed(apart, [], ROOM, tokens, "best_first")) == 2


def test_what_says_nothing_new_is_left_out() -> None:
    text = "Hold the reset button for ten seconds to restore the factory settings. Then wait for the green light."
    copy = text.upper()
    passages = [Passage(document_id=str(n), text=each) for n, each in enumerate((text, copy, text[30:], "Other."))]
    assert texts(packed(passages, [], ROOM, tokens, "best_first")) == [text, "Other."]


def test_the_best_sentences_stay_with_their_neighbours() -> None:
    source = " ".join(f"Sentence number {n} tells of thing {n}." for n in range(20))
    passages = cut(source, (0, len(source)))
    found = sorted(split(passages), key=lambda each: abs(each.start - source.index("Sentence number 11")))
    (shown,) = packed(passages, found, 62, tokens, "best_first")
    assert shown.text == (
        "\u2026 Sentence number 10 tells of thing 10. Sentence number 11 tells of thing 11. "
        "Sentence number 12 tells of thing 12. \u2026"
    )


def test_a_mark_stands_where_sentences_were_left_out() -> None:
    source = " ".join(f"Sentence number {n} tells of thing {n}." for n in range(12))
    passages = cut(source, (0, len(source)))
    every = split(passages)
    found = [every[1], every[9]]
    (shown,) = packed(passages, found, 112, tokens, "best_first")
    assert shown.text.startswith("Sentence number 0 tells of thing 0. Sentence number 1 ")
    assert "thing 2. \u2026 Sentence number 8 tells" in shown.text
    assert shown.text.endswith("\u2026")


def test_a_sentence_that_is_too_long_is_cut_between_words() -> None:
    passages = cut("word " * 400, (0, 1999))
    (shown,) = packed(passages, split(passages), 60, tokens, "best_first")
    assert set(shown.text.replace("\u2026", "").split()) == {"word"}
    assert cost([shown]) <= 64


def test_a_marked_sentence_keeps_its_white_space() -> None:
    passages = cut("# Heading\n\n- one item\n- another item\n\nA line.", (0, 43))
    assert texts(packed(passages, [], ROOM, tokens, "best_first")) == [passages[0].text]


@pytest.mark.parametrize(("budget", "kept"), [(1000, 3), (40, 2), (20, 1), (5, 0)])
def test_the_latest_turns_that_fit(budget: int, kept: int) -> None:
    turns = [(f"question {n}", "an answer") for n in range(3)]
    assert spoken(turns, budget, lambda text: math.ceil(len(text) / 3)) == tuple(turns[3 - kept :])


def test_sentences_of_other_passages_are_passed_over() -> None:
    passages = cut("One is here. Two is there.", (0, 26))
    elsewhere = [Sentence(7, 0, 4, "Four"), *split(passages)]
    assert texts(packed(passages, elsewhere, 23, tokens, "best_first")) == ["One is here. \u2026"]
