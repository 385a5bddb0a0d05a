"""Matches of the reranker, as places in a passage's own text."""

from __future__ import annotations

from ragline.highlights import highlights
from ragline.spans import embedded_text
from ragline.v1.passage_pb2 import Passage
from ragline.v1.reranker_pb2 import Match

QUERY = "who keeps lock 4"
PASSAGE = Passage(
    title="The river Alm", section="Mile 4", text="The keeper of lock 4 is Nan. \u00c5 boat lies there."
)


def match(word: str, query: str, text: str) -> Match:
    """The first place of a word in both."""
    start, asked = text.index(word), QUERY.index(query)
    return Match(
        start=start, end=start + len(word), query_start=asked, query_end=asked + len(query), similarity=0.51239
    )


def test_offsets_are_of_the_passages_own_text() -> None:
    seen = embedded_text(PASSAGE.title, PASSAGE.section, PASSAGE.text)
    (told,) = highlights(QUERY, PASSAGE, [match("keeper", "keeps", seen)])
    assert (told["query"], told["text"], told["similarity"]) == ("keeps", "keeper", 0.5124)
    assert PASSAGE.text[told["start"] : told["end"]] == "keeper"
    assert QUERY[told["query_start"] : told["query_end"]] == "keeps"


def test_a_word_of_the_heading_has_no_place_in_the_text() -> None:
    seen = embedded_text(PASSAGE.title, PASSAGE.section, PASSAGE.text)
    (told,) = highlights(QUERY, PASSAGE, [match("Alm", "lock", seen)])
    assert (told["text"], told["start"], told["end"]) == ("Alm", None, None)


def test_a_widened_passage_counts_from_its_whole_text() -> None:
    widened = Passage(title="Alm", text=f"Before it. {PASSAGE.text} After it.")
    own = (11, 11 + len(PASSAGE.text))
    seen = embedded_text("Alm", "", PASSAGE.text)
    (told,) = highlights(QUERY, widened, [match("boat", "lock", seen)], own)
    assert widened.text[told["start"] : told["end"]] == told["text"] == "boat"


def test_without_a_heading_offsets_stay() -> None:
    plain = Passage(text=PASSAGE.text)
    (told,) = highlights(QUERY, plain, [match("lock", "lock", plain.text)])
    assert plain.text[told["start"] : told["end"]] == "lock"
    assert highlights(QUERY, plain, []) == []
