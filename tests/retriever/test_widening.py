"""Hits widened with their neighbours: every character still leads to the document's text."""

from __future__ import annotations

from collections.abc import Sequence

from hypothesis import given
from hypothesis import strategies as st

from ragline.spans import to_source
from ragline.v1.passage_pb2 import Passage
from services.retriever.asking import Hit
from services.retriever.fusion import Fused
from services.retriever.stores import Around
from services.retriever.widening import survivors, widened

SOURCE = "One is here.\n\nTwo  follows it. Three comes after.\nFour is the last."


def passage(ordinal: int, source: str, start: int, end: int, page: int = 0) -> Passage:
    """A passage as preprocess makes it: runs of white space are one space, offsets lead back."""
    text, offsets = "", []
    at = start
    while at < end:
        stop = at
        while stop < end and not source[stop].isspace():
            stop += 1
        if stop > at:
            text += " " if text else ""
            offsets += [len(text), at]
            text += source[at:stop]
        at = stop + 1
    made = Passage(id=f"doc#{ordinal}", document_id="doc", text=text, start=start, end=end, page=page)
    if text != source[start:end]:
        made.source = source[start:end]
        made.offsets.extend(offsets)
    return made


def hit(made: Passage, row: int) -> Hit:
    return Hit(made, 1.0, Fused(row, 1.0, 1, None, 1.0, None))


def around(passages: Sequence[Passage], source: str, rows: Sequence[int], count: int) -> dict[int, Around]:
    result = {}
    for row in rows:
        near = passages[max(0, row - count) : row + count + 1]
        begin, end = min(one.start for one in near), max(one.end for one in near)
        result[row] = Around(near, row - max(0, row - count), source[begin:end])
    return result


def check(made: Passage, source: str) -> None:
    """Every character that is no break between passages is the source's at its offset."""
    assert (made.source or made.text) == source[made.start : made.end]
    for at, letter in enumerate(made.text):
        if not letter.isspace():
            assert source[to_source(made.offsets, made.start, at)] == letter
    assert sorted(made.offsets[::2]) == list(made.offsets[::2])
    assert sorted(made.offsets[1::2]) == list(made.offsets[1::2])


def test_a_gap_becomes_a_break_and_an_overlap_is_there_once() -> None:
    parts = [passage(0, SOURCE, 0, 12), passage(1, SOURCE, 14, 49), passage(2, SOURCE, 31, 67)]
    (made,) = widened([hit(parts[1], 1)], around(parts, SOURCE, [1], 1))
    assert made.passage.text == "One is here.\n\nTwo follows it. Three comes after. Four is the last."
    assert made.own is not None
    assert made.passage.text[slice(*made.own)] == parts[1].text
    assert (made.passage.id, made.joined) == ("doc#1", ("doc#0", "doc#2"))
    assert (made.passage.start, made.passage.end) == (0, 67)
    check(made.passage, SOURCE)


def test_the_better_hit_takes_its_neighbours_and_the_weaker_what_is_left() -> None:
    source = " ".join(f"word{n}" for n in range(10))
    parts, at = [], 0
    for n in range(10):
        parts.append(passage(n, source, at, at + 5))
        at += 6
    hits = [hit(parts[row], row) for row in (4, 5, 7, 0)]
    kept = survivors(hits, 1, 3)
    assert [one.passage.id for one in kept] == ["doc#4", "doc#7", "doc#0"]
    made = widened(kept, around(parts, source, [4, 7, 0], 1))
    assert [one.joined for one in made] == [("doc#3", "doc#5"), ("doc#6", "doc#8"), ("doc#1",)]
    shown = [each for one in made for each in (one.passage.id, *one.joined)]
    assert len(shown) == len(set(shown))
    close = widened([hit(parts[row], row) for row in (4, 6)], around(parts, source, [4, 6], 1))
    assert [one.joined for one in close] == [("doc#3", "doc#5"), ("doc#7",)]


def test_pages_that_begin_in_a_gap_or_a_neighbour_count() -> None:
    source = "aaaa\n\nbbbb cccc\n\ndddd"
    parts = [passage(0, source, 0, 4, 1), passage(1, source, 6, 15, 2), passage(2, source, 17, 21, 4)]
    parts[1].page_starts.append(11)
    (made,) = widened([hit(parts[1], 1)], around(parts, source, [1], 1))
    assert made.passage.page == 1
    assert list(made.passage.page_starts) == [6, 11, 17]


def test_what_went_meanwhile_stays_as_it_was() -> None:
    one = hit(passage(0, SOURCE, 0, 12), 0)
    assert widened([one], {}) == [one]


@given(
    st.text(alphabet="ab .\n", min_size=1, max_size=80),
    st.lists(st.tuples(st.integers(0, 79), st.integers(1, 25)), min_size=1, max_size=8),
    st.integers(0, 3),
    st.data(),
)
def test_offsets_hold_for_any_cut(
    source: str, cuts: list[tuple[int, int]], count: int, data: st.DataObject
) -> None:
    spans = sorted({(start, min(len(source), start + size)) for start, size in cuts if start < len(source)})
    ascending = [spans[0]] if spans else []
    for span in spans[1:]:
        if span[0] > ascending[-1][0] and span[1] > ascending[-1][1]:
            ascending.append(span)
    parts = [passage(n, source, start, end) for n, (start, end) in enumerate(ascending)]
    if not parts:
        return
    rows = data.draw(st.lists(st.integers(0, len(parts) - 1), unique=True, min_size=1))
    kept = survivors([hit(parts[row], row) for row in rows], count, 4)
    for made in widened(kept, around(parts, source, [one.fused.id for one in kept], count)):
        check(made.passage, source)
        assert made.own is None or made.passage.text[slice(*made.own)] in parts[made.fused.id].text
