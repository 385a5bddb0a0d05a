"""Passages keep to headings, sentences and the budget, and lose no character."""

import re
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.preprocess.chunkers import Chunk, Parts
from services.preprocess.chunkers._units import is_boundary
from services.preprocess.chunkers.headings import load
from services.preprocess.parsers import Heading
from services.preprocess.tokens import token_counter

count = token_counter(None)

SENTENCE = "The quick brown fox jumps over the lazy dog today."  # 11 tokens


def chunk(
    text: str, headings: list[tuple[str, int]] | None = None, *, max_tokens: int = 50, overlap: int = 0
) -> list[Chunk]:
    """Chunks of ``text``, in which each heading is found by its line."""
    found = [Heading(text.index(line), level, line.lstrip("# ")) for line, level in headings or []]
    return load(Parts(max_tokens, overlap)).chunk(text, found, count)


def texts(text: str, chunks: list[Chunk]) -> list[str]:
    return [text[each.start : each.end] for each in chunks]


def section(title: str, sentences: int) -> str:
    return f"# {title}\n\n{' '.join([SENTENCE] * sentences)}\n\n"


def test_a_passage_does_not_cross_a_heading() -> None:
    text = section("One", 3) + section("Two", 3)
    found = chunk(text, [("# One", 1), ("# Two", 1)])
    assert [each.section for each in found] == ["One", "Two"]
    assert texts(text, found)[1].startswith("# Two")


def test_tiny_sections_of_one_parent_are_joined() -> None:
    text = "# Guide\n\n## A\n\nShort.\n\n## B\n\nShort too.\n\n## C\n\n" + " ".join([SENTENCE] * 4)
    found = chunk(text, [("# Guide", 1), ("## A", 2), ("## B", 2), ("## C", 2)])
    assert texts(text, found)[0] == "# Guide\n\n## A\n\nShort.\n\n## B\n\nShort too."
    assert [each.section for each in found] == ["Guide", "Guide > C"]


def test_a_heading_alone_goes_with_what_is_below_it() -> None:
    text = "# Guide\n\n## Install\n\n" + " ".join([SENTENCE] * 8)
    found = chunk(text, [("# Guide", 1), ("## Install", 2)])
    assert texts(text, found)[0].startswith("# Guide\n\n## Install\n\nThe quick")
    assert {each.section for each in found} == {"Guide > Install"}


def test_low_headings_are_no_barrier_but_end_no_passage() -> None:
    text = "# One\n\n" + SENTENCE + "\n\n#### Detail\n\n" + " ".join([SENTENCE] * 5)
    found = chunk(text, [("# One", 1), ("#### Detail", 4)])
    assert not any(passage.endswith("#### Detail") for passage in texts(text, found))


def test_whole_sentences_overlap() -> None:
    sentences = [f"Sentence number {number} has a few words." for number in range(20)]
    text = " ".join(sentences)
    found = texts(text, chunk(text, overlap=10))
    assert len(found) > 2
    for before, after in pairwise(found):
        assert before.endswith(re.split(r"(?<=\.) ", after)[0])


def test_paragraphs_stay_whole_where_they_fit() -> None:
    paragraphs = [" ".join([SENTENCE] * n) for n in (2, 3, 3, 1)]
    text = "\n\n".join(paragraphs)
    for passage in texts(text, chunk(text)):
        assert all(part in paragraphs for part in passage.split("\n\n"))


@pytest.mark.parametrize(
    "block",
    [
        "```py\ndef f():\n\n    return 1. + 2. # Is it? Yes.\n```",
        "| Item. One | B |\n|---|---|\n| c. D | d |",
        "    indented = 1.\n    more = 2.  # Is it? Yes.",
    ],
)
def test_code_and_tables_stay_whole_where_they_fit(block: str) -> None:
    text = " ".join([SENTENCE] * 3) + "\n\n" + block + "\n\n" + SENTENCE
    assert any(block.strip() in passage for passage in texts(text, chunk(text, max_tokens=60)))


def test_a_table_that_does_not_fit_is_cut_at_its_rows() -> None:
    rows = [f"| cell {number} | value. Number {number} |" for number in range(30)]
    text = "\n".join(rows)
    for passage in texts(text, chunk(text)):
        assert all(line in rows for line in passage.split("\n"))


def test_a_long_sentence_is_cut_at_clauses_then_words() -> None:
    clause = "which is a clause of some words"
    text = ", ".join([clause] * 20) + "."
    assert all(passage.startswith("which") for passage in texts(text, chunk(text)))
    words = "word " * 1000
    assert all(set(passage.split()) == {"word"} for passage in texts(words, chunk(words)))


@pytest.mark.parametrize(
    "text",
    [
        "word " * 100_000,
        "x" * 1_000_000,
        "日本語" * 10_000,
        "👩\u200d💻" * 10_000,
        "🇩🇪" * 10_000,
        "e\u0301" * 10_000,
        "# h\n\ntext\n\n" * 3000,
        "`" * 100_000,
        "- a\n" * 10_000,
    ],
    ids=["words", "one word", "ideographs", "joined emoji", "flags", "marks", "headings", "ticks", "list"],
)
def test_hostile_text(text: str) -> None:
    holds(text, chunk(text, max_tokens=200, overlap=32), 200)


PIECES = [
    "word ",
    "A sentence. ",
    "é\u0301",
    "👩\u200d💻",
    "🇩🇪",
    "\n\n",
    "\n",
    "- item\n",
    "# Title\n",
    "|a|b|\n",
    "```\n",
    "日本。",
    "x" * 90,
    " " * 5,
]


@given(
    st.lists(st.sampled_from(PIECES), max_size=60),
    st.integers(16, 40),
    st.integers(0, 20),
    st.data(),
)
def test_every_character_is_in_a_passage(
    pieces: list[str], budget: int, overlap: int, data: st.DataObject
) -> None:
    text = "".join(pieces)
    starts = data.draw(st.lists(st.integers(0, max(0, len(text))), max_size=5))
    headings = [
        Heading(start, 1 + at % 6, f"h{at}") for at, start in enumerate(sorted(starts)) if is_boundary(text, start)
    ]
    holds(text, load(Parts(budget, overlap)).chunk(text, headings, count), budget)


@given(st.text(max_size=400))
def test_any_text(text: str) -> None:
    holds(text, load(Parts(16, 4)).chunk(text, [], count), 16)


def holds(text: str, chunks: list[Chunk], budget: int) -> None:
    covered = bytearray(len(text))
    last = -1
    for each in chunks:
        passage = text[each.start : each.end]
        assert passage == passage.strip() != ""
        assert each.start > last
        last = each.start
        assert is_boundary(text, each.start)
        assert is_boundary(text, each.end)
        covered[each.start : each.end] = b"\x01" * len(passage)
    assert max(count([text[each.start : each.end] for each in chunks]), default=0) <= budget
    assert all(covered[at] or letter.isspace() for at, letter in enumerate(text))
