from hypothesis import given
from hypothesis import strategies as st

from ragline.spans import embedded_text, to_source


def test_a_passage_is_embedded_below_its_title_and_section() -> None:
    assert embedded_text("Lamps", "Oil", "Fill it.") == "Lamps > Oil\nFill it."
    assert embedded_text("Lamps", "", "Fill it.") == "Lamps\nFill it."
    assert embedded_text("", "Oil", "Fill it.") == "Oil\nFill it."
    assert embedded_text("", "", "Fill it.") == "Fill it."


def test_a_passage_taken_over_whole_counts_from_its_start() -> None:
    assert to_source([], 7, 3) == 10


@given(st.lists(st.tuples(st.integers(1, 5), st.integers(0, 4)), min_size=1, max_size=20))
def test_every_letter_is_found_again_where_pieces_were_cut_out(runs: list[tuple[int, int]]) -> None:
    """Each run keeps some letters after dropping some of the source."""
    offsets: list[int] = []
    origins: list[int] = []
    at = 0
    for kept, dropped in runs:
        at += dropped
        offsets += [len(origins), at]
        origins += range(at, at + kept)
        at += kept
    assert [to_source(offsets, 0, place) for place in range(len(origins))] == origins
