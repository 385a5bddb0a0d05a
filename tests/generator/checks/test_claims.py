"""Claims come out whole, in order, and as soon as they are complete."""

from hypothesis import given
from hypothesis import strategies as st

from services.generator.checks.claims import Claims


def read(pieces: list[str]) -> list[str]:
    claims = Claims()
    return [claim for piece in pieces for claim in claims.feed(piece)] + list(claims.finish())


def test_a_sentence_is_given_once_the_next_begins() -> None:
    claims = Claims()
    assert list(claims.feed("It costs 3.")) == []
    assert list(claims.feed("50 euros. ")) == []
    assert list(claims.feed("Then")) == ["It costs 3.50 euros."]
    assert list(claims.feed(" more\nNew line")) == ["Then more"]
    assert list(claims.finish()) == ["New line"]


@given(st.text(max_size=200), st.integers(1, 7))
def test_no_text_is_lost_or_doubled(text: str, size: int) -> None:
    pieces = [text[at : at + size] for at in range(0, len(text), size)]
    assert "".join("".join(read(pieces)).split()) == "".join(text.split())


@given(st.lists(st.sampled_from(["It is so. ", "Is it? ", "Dr. Who came. ", "One\n", "1.5 m. "]), max_size=8))
def test_how_the_text_is_cut_into_pieces_does_not_matter(parts: list[str]) -> None:
    text = "".join(parts)
    assert "".join(read(list(text)).__str__().split()) == "".join(read(parts).__str__().split())
