import string

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ragline.v1.passage_pb2 import Passage
from ragline.v1.retriever_pb2 import Hit
from services.generator.checks.evidence import span
from services.generator.guards import Match
from services.generator.guards._masking import BLANK, masked, merged, rewritten
from tests.generator.world import BRELL_SOURCE, cleaned


def match(start: int, end: int, stands: str = "[it]", *, verbatim: bool = False) -> Match:
    return Match(start, end, "it", stands, verbatim=verbatim)


def test_overlapping_finds_are_one_of_the_longest_kind() -> None:
    found = merged([Match(5, 9, "b", "[b]"), Match(0, 6, "a", "[a]"), Match(20, 21, "c", "[c]")])
    assert [(each.start, each.end, each.stands) for each in found] == [(0, 9, "[a]"), (20, 21, "[c]")]
    assert masked("0123456789" * 3, found) == "[a]9" + "0123456789" + "[c]123456789"[:12]


texts = st.text(string.ascii_letters + " .\n", min_size=1, max_size=60)
spans = st.lists(st.tuples(st.integers(0, 60), st.integers(1, 12), st.sampled_from(["", "[x]", "[a longer one]"])))


@given(texts, spans, st.integers(0, 1000), st.booleans())
def test_masking_a_passage_changes_nothing_else_and_every_place_keeps_its_source(
    source: str, places: list[tuple[int, int, str]], start: int, clean: bool
) -> None:
    passage = Passage(text=source, start=start, end=start + len(source))
    if clean:
        passage.text, offsets = cleaned(source)
        passage.source = source
        passage.offsets.extend(start * (at % 2) + each for at, each in enumerate(offsets))
        if not passage.text:
            return
    found = merged(
        match(at, min(at + length, len(passage.text)), stands)
        for at, length, stands in places
        if at < len(passage.text)
    )
    made = rewritten(Hit(passage=passage), found, []).passage
    assert made.text == masked(passage.text, found)
    assert len(made.source) == len(source)
    assert all(new in (old, BLANK) for new, old in zip(made.source, source, strict=True))
    at = shift = 0
    for each in [*found, match(len(passage.text), len(passage.text))]:
        for place in range(at, each.start):
            old, new = span(passage, place, place + 1), span(made, place + shift, place + shift + 1)
            assert new == old, "what is not masked is where it was"
        if each.stands and each.end > each.start:
            begin = each.start + shift
            first, last, quote = span(made, begin, begin + len(each.stands))
            assert (first, last) == span(passage, each.start, each.end)[:2]
            assert set(quote) == {BLANK}
        at = each.end
        shift += len(each.stands) - (each.end - each.start)


def test_what_may_be_quoted_stays_in_the_source_and_what_only_an_answer_masks_stays_in_the_text() -> None:
    hit = Hit(passage=Passage(text="Ask <|bob|> or eve", start=10, end=28))
    made = rewritten(hit, [match(4, 11, "<bob>", verbatim=True)], [match(15, 18)]).passage
    assert made.text == "Ask <bob> or eve"
    assert made.source == "Ask <|bob|> or " + 3 * BLANK
    assert hit.passage.text == "Ask <|bob|> or eve"


@pytest.mark.parametrize(
    ("own", "moved"), [((0, 10), (0, 8)), ((4, 18), (2, 16)), ((2, 6), (2, 4)), ((0, 0), (0, 0))]
)
def test_the_own_part_of_a_widened_passage_moves_along(own: tuple[int, int], moved: tuple[int, int]) -> None:
    hit = Hit(passage=Passage(text="abcdefghijklmnopqr", end=18), own_start=own[0], own_end=own[1])
    made = rewritten(hit, [match(2, 4, "")], [])
    assert (made.own_start, made.own_end) == moved


def test_a_cleaned_source_is_blanked_where_it_really_is() -> None:
    text, offsets = cleaned(BRELL_SOURCE)
    passage = Passage(text=text, end=len(BRELL_SOURCE), source=BRELL_SOURCE, offsets=offsets)
    at = text.index("Ada Lund")
    made = rewritten(Hit(passage=passage), [match(at, at + 8, "[name]")], []).passage
    assert made.source == BRELL_SOURCE.replace("Ada Lund", 8 * BLANK)
    first, last, quote = span(made, made.text.index("The mayor"), made.text.index("[3]"))
    assert quote == "The mayor of Brell is " + 8 * BLANK
    assert BRELL_SOURCE[first:last] == "The mayor of Brell is Ada Lund"
