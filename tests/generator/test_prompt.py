"""Prompts stay within their budget, whatever the passages hold."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ragline.v1.passage_pb2 import Passage
from services.generator import evidence, prompt
from services.generator.evidence import Sentence
from tests.generator import world

PASSAGES = [world.passage(name) for name in world.SOURCES]
TEXTS = st.lists(st.text(min_size=1, max_size=400), min_size=1, max_size=6)


@given(TEXTS, st.text(max_size=100), st.integers(100, 600))
def test_passages_fit_the_budget(texts: list[str], query: str, budget: int) -> None:
    given_ = [Passage(text=text) for text in texts]
    made = prompt.passages(query, given_, [], budget)
    overhead = prompt.tokens("Passages:\n\n\n\nQuestion: ") + 4 * len(texts)
    assert prompt.tokens(made.user) <= max(budget, prompt.tokens(query)) + overhead


@given(TEXTS, st.integers(64, 600))
def test_extract_keeps_the_best_sentences_that_fit(texts: list[str], budget: int) -> None:
    found = [Sentence(0, 0, len(text), text, score=-at) for at, text in enumerate(texts)]
    made = prompt.extract("Why?", found, budget)
    assert list(made.sentences) == found[: len(made.sentences)]
    assert made.sentences[0] == found[0]
    assert len(made.sentences) == 1 or prompt.tokens(made.user) <= min(budget, prompt.EXTRACT_TOKENS)


def test_the_passages_are_numbered_under_their_headings() -> None:
    made = prompt.passages("How long?", PASSAGES, evidence.split(PASSAGES, 9), 10_000)
    assert "[2] Kestrel router\nThe Kestrel router comes with" in made.user
    assert made.user.endswith("Question: How long?")
    assert [message["role"] for message in made.messages] == ["system", "user"]


def test_the_last_passage_is_cut_at_a_sentence() -> None:
    made = prompt.passages("How long?", PASSAGES[1:2], [], 40)
    assert "two-year warranty." in made.user
    assert "reset button" not in made.user


def test_the_constant_part_of_a_prompt_comes_first() -> None:
    one, other = (prompt.passages(query, PASSAGES, [], 900).messages for query in ("One?", "Two?"))
    assert one[0] == other[0]
    assert one[1]["content"].removesuffix("One?") == other[1]["content"].removesuffix("Two?")


@pytest.mark.parametrize(("text", "least"), [("hello world, how are you", 6), ("\u6f22\u5b57" * 50, 100), ("", 0)])
def test_tokens_errs_to_the_high_side(text: str, least: int) -> None:
    assert prompt.tokens(text) >= least
