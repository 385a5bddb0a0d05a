"""Of passages that say nearly the same only the best is shown."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from services.retriever.collapse import leaders

LONG = (
    "The ferry leaves the harbour at nine in the morning and comes back late in the evening when the wind allows"
)


def test_the_same_words_are_the_same_whatever_their_dress() -> None:
    texts = [
        "Lost  message, retried!",
        "something else",
        "LOST MESSAGE retried",
        "\uff4c\uff4f\uff53\uff54 message retried",
    ]
    assert leaders(texts, None, 0.8, 0.98) == [0, 1, 0, 0]


def test_a_word_more_is_nearly_the_same_and_other_words_are_not() -> None:
    other = LONG.replace("ferry", "train").replace("harbour", "station")
    texts = [LONG, LONG + " today", other, "Bread dough rises"]
    assert leaders(texts, None, 0.8, 0.98) == [0, 0, 2, 3]
    assert leaders(texts, None, 1.0, 0.98) == [0, 1, 2, 3]


def test_vectors_tell_as_well() -> None:
    vectors = np.array([[1, 0], [0, 1], [0.999, 0.0447]], dtype=np.float32)
    assert leaders(["one", "two", "three"], vectors, 0.8, 0.98) == [0, 1, 0]
    assert leaders(["one", "two", "three"], vectors, 0.8, 1.0) == [0, 1, 2]


def test_texts_without_words_are_compared_as_they_are() -> None:
    assert leaders(["---", "***", "---", ""], None, 0.8, 0.98) == [0, 1, 0, 3]


@given(st.lists(st.text(alphabet="ab ", max_size=30), max_size=25), st.floats(0.1, 1))
def test_leaders_lead_themselves_and_come_first(texts: list[str], overlap: float) -> None:
    found = leaders(texts, None, overlap, 1.0)
    for place, leader in enumerate(found):
        assert leader <= place
        assert found[leader] == leader
    for place, text in enumerate(texts):
        assert found[place] == found[texts.index(text)]
