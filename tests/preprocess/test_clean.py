"""Cleaning leaves ordinary text alone, and every character leads back to its source."""

import unicodedata

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from ragline.spans import to_source
from services.preprocess.clean import Cleaned, clean

ODD = (
    "aB e\u0301\u0316\u212b\u1100\u1161\u11a8\u0958\ufb01\ufb03-\n\r\t\x00\x1b[m"
    "\u00a0\u3000\u2028\u200b\u200d\u202e\u00ad\ufeff😀한"
)


@pytest.mark.parametrize(
    ("source", "expected"),
    [
        ("plain text, as it is.\n\n- list\n    code", None),
        ("one\r\ntwo\rthree", "one\ntwo\nthree"),
        ("a\x00b\x07c", "abc"),
        ("ab\u202edc\u202c \u2066x\u2069", "abdc x"),
        ("zero\u200bwidth\ufeff", "zerowidth"),
        ("soft\u00adhyphen", "softhyphen"),
        ("a\u00a0b\u3000c", "a b c"),
        ("cafe\u0301", "caf\u00e9"),
        ("\u1100\u1161\u11a8", "\uac01"),
        ("\u212b\u212b", "\u00c5\u00c5"),
        ("o\ufb03ce", "office"),
        ("line  \nnext \t\n", "line\nnext\n"),
        ("a\n\n\n \n\nb", "a\n\nb"),
        ("two  spaces   here", "two spaces here"),
        ("    indented\n  more", None),
        ("\x1b[31mred\x1b[0m", "red"),
        ("👩\u200d💻 \u0645\u06cc\u200c\u062e", None),
        ("la\u200dtin", "latin"),
        ("tag\U000e0041\U000e0042ged", "tagged"),
        ("a" + "\u0301" * 500, "\u00e1" + "\u0301" * 29),
        ("", None),
    ],
)
def test_clean(source: str, expected: str | None) -> None:
    cleaned = clean(source)
    assert cleaned.text == (source if expected is None else expected)
    leads_back(source, cleaned)


def test_ordinary_text_is_one_run() -> None:
    text = "Ordinary text.\n\n# Heading\n\n| a | b |\n|---|---|\n\n    code here\n\ncaf\u00e9 日本語 😀\n"
    assert clean(text) == Cleaned(text, [0, 0])


def test_what_changes_its_letters_but_not_its_length_is_still_one_run() -> None:
    assert clean("a\u00a0b\u2028c").offsets == [0, 0]


def test_spacing_is_kept_where_it_has_a_meaning() -> None:
    source = "a  b\nx = 1   # y\nc  d"
    assert clean(source, keep=[(5, 18)]).text == "a b\nx = 1   # y\nc d"


def test_boilerplate_is_left_out() -> None:
    source = "Page header\nText one\nfooter\nText two"
    cleaned = clean(source, [(0, 12), (21, 28)])
    assert cleaned.text == "Text one\nText two"
    assert cleaned.source_at(9) == source.index("Text two")
    leads_back(source, cleaned)


@pytest.mark.parametrize(
    ("source", "expected"),
    [
        ("an exam-\nple here", "an example here"),
        ("well-\nknown and well-known", "well-known and well-known"),
        ("Anglo-\nAmerican", "Anglo-American"),
        ("in 1990-\n1995", "in 1990-\n1995"),
        ("soft\u00ad\nware", "software"),
        ("a dash -\nthen", "a dash -\nthen"),
    ],
)
def test_words_that_a_line_end_broke_are_joined(source: str, expected: str) -> None:
    cleaned = clean(source, hyphenated=True)
    assert cleaned.text == expected
    leads_back(source, cleaned)


@given(st.text(alphabet=st.sampled_from(ODD), max_size=60), st.booleans())
@example("\u212b\u0301\u212b", False)
@example("\u0958\u0958\u0301", False)
def test_every_character_leads_back(source: str, hyphenated: bool) -> None:
    leads_back(source, clean(source, hyphenated=hyphenated))


@given(st.text(max_size=100))
def test_any_text(source: str) -> None:
    cleaned = clean(source)
    leads_back(source, cleaned)
    assert unicodedata.is_normalized("NFC", cleaned.text)
    cleaned.text.encode()


@given(st.text(alphabet=st.sampled_from(ODD), max_size=60), st.data())
def test_a_slice_leads_back_too(source: str, data: st.DataObject) -> None:
    cleaned = clean(source)
    start = data.draw(st.integers(0, max(0, len(cleaned.text) - 1)))
    end = data.draw(st.integers(start, len(cleaned.text)))
    runs = cleaned.runs(start, end)
    for at in range(start, end):
        assert to_source(runs, cleaned.source_at(start), at - start) == cleaned.source_at(at)


@given(st.text(alphabet=st.sampled_from(ODD), max_size=60))
def test_source_offsets_lead_to_the_text(source: str) -> None:
    cleaned = clean(source)
    places = [cleaned.text_at(at) for at in range(len(source) + 1)]
    assert places == sorted(places)
    assert all(0 <= place <= len(cleaned.text) for place in places)


def leads_back(source: str, cleaned: Cleaned) -> None:
    last = 0
    for at, letter in enumerate(cleaned.text):
        found = to_source(cleaned.offsets, 0, at)
        assert found == cleaned.source_at(at)
        assert last <= found < len(source)
        last = found
        if letter.isspace() or unicodedata.combining(letter):
            continue  # marks may change places
        rest = unicodedata.normalize("NFC", clean(source[found : found + 40]).text) if found else cleaned.text[at:]
        same = source[found] == letter or letter in unicodedata.normalize("NFKD", source[found])
        assert same or letter in unicodedata.normalize("NFC", rest) or letter == "\ufffd"
