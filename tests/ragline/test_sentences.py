"""Sentences are found where a reader would, and nothing is lost."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ragline.sentences import LONG, sentences


def texts(text: str) -> list[str]:
    return [text[start:end] for start, end in sentences(text)]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("One. Two! Three?", ["One.", "Two!", "Three?"]),
        ("Dr. Smith left at 5 p.m. He works for Apple Inc. in the U.S. today.", None),
        ("It is 3.5 km long. Version v1.2.3 is out.", ["It is 3.5 km long.", "Version v1.2.3 is out."]),
        ("A line\nthat wraps. Next.", ["A line\nthat wraps.", "Next."]),
        ("A paragraph\n\nanother one", ["A paragraph", "another one"]),
        ("# Title\nText here.", ["# Title", "Text here."]),
        ("1. First item.\n2. Second item.\n- third", ["1. First item.", "2. Second item.", "- third"]),
        ("| a. B | c |\n| d | e |", ["| a. B | c |", "| d | e |"]),
        ("Methods Used\nWe did it. It worked.", ["Methods Used", "We did it.", "It worked."]),
        ("日本語です。次の文。", ["日本語です。", "次の文。"]),
        ("😀 e\u0301 fin. Next.", ["😀 e\u0301 fin.", "Next."]),
        (" \n\t ", []),
        ("", []),
    ],
)
def test_sentences(text: str, expected: list[str] | None) -> None:
    if expected is None:
        assert len(texts(text)) <= 2
    else:
        assert texts(text) == expected


def test_a_quotation_is_not_one_sentence() -> None:
    text = 'She said "' + "This is one. " * 60 + '" and left.'
    assert len(texts(text)) >= 60


def test_a_stray_quotation_mark_does_not_swallow_the_rest() -> None:
    text = "It's \"here. " + "Then a sentence follows. " * 100
    assert max(map(len, texts(text))) < LONG


@pytest.mark.parametrize("unit", ["word ", "x", "\"(“'. A ", "- a\n", "\n", "1. ", "\ud800. A ", "\x00"])
def test_long_hostile_text_is_covered(unit: str) -> None:
    covers(unit * 20_000)


@given(
    st.text(alphabet=st.sampled_from("aB1. !?\"'“”()\n\r\t 。😀\u0301\u200b\x00\x85#-|*,;\ud800"), max_size=300)
)
def test_every_non_blank_character_is_in_exactly_one_sentence(text: str) -> None:
    covers(text)


@given(st.text(max_size=200))
def test_any_text(text: str) -> None:
    covers(text)


def covers(text: str) -> None:
    at = 0
    for start, end in sentences(text):
        assert at <= start < end <= len(text)
        assert not text[at:start].strip()
        assert not text[start].isspace()
        assert not text[end - 1].isspace()
        at = end
    assert not text[at:].strip()
