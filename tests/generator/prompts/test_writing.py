"""What an LLM is asked: the prompt that was chosen, packed into its room, its constant part first."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import grpc
import pytest
from hypothesis import given
from hypothesis import strategies as st

import ragline.cache
from ragline.errors import InvalidRequest, Unavailable
from ragline.v1.passage_pb2 import Passage
from services.generator.checks.evidence import Sentence, split
from services.generator.events import Question, Turn
from services.generator.llms.extractive import Extractive
from services.generator.llms.llamacpp import LlamaCpp
from services.generator.prompt import Style, tokens
from services.generator.prompts import shipped
from services.generator.prompts.writing import EXTRACT_TOKENS, MESSAGE_TOKENS, Writing, extract
from tests.generator import world

QUESTION = Question("default", "default", "How long is the warranty?", 5, 100)
PASSAGES = [world.passage(name) for name in world.SOURCES]
TURNS = (Turn("Is there a router?", "Yes."), Turn("Who makes it?", "Kestrel."))


class Counted(Extractive):
    """An LLM with little room that counts a token a character."""

    style: Style = "passages"

    def __init__(self, context: int = 4000) -> None:
        super().__init__()
        self.context_tokens = context
        self.away = False

    async def count_tokens(self, texts: Sequence[str]) -> list[int]:
        if self.away:
            raise Unavailable("It went away.")
        return [len(text) for text in texts]


def asked(question: Question = QUESTION, budget: int = 1600, llm: Extractive | None = None) -> str:
    writing = Writing(shipped(), budget)
    return writing.ask(question, llm or Counted(), PASSAGES, split(PASSAGES), {}).user


@given(st.lists(st.text(min_size=1, max_size=400), min_size=1, max_size=6), st.integers(64, 600))
def test_extract_keeps_the_best_sentences_that_fit(texts: list[str], budget: int) -> None:
    found = [Sentence(0, 0, len(text), text, score=-at) for at, text in enumerate(texts)]
    made = extract(shipped().choose("", "answer", "extract"), "Why?", found, budget)
    assert list(made.sentences) == found[: len(made.sentences)]
    assert made.sentences[0] == found[0]
    assert len(made.sentences) == 1 or tokens(made.user) <= min(budget, EXTRACT_TOKENS) + 10
    assert made.id == "answer.extract@1"


def test_the_passages_stand_in_fences_under_their_headings() -> None:
    user = asked()
    assert '<passage number="1">\nBrell\nThe town of Brell lies' in user
    assert '<passage number="4">\nKestrel router\nThe Kestrel router comes with' in user
    assert user.count("</passage>") == 4
    assert user.endswith("Question: How long is the warranty?")


@pytest.mark.parametrize("context", [400, 600, 1000])
def test_a_prompt_fits_the_context_with_its_answer(context: int) -> None:
    question = replace(QUESTION, turns=TURNS)
    made = Writing(shipped(), 1600).ask(question, Counted(context), PASSAGES, split(PASSAGES), {})
    assert sum(tokens(each["content"]) + MESSAGE_TOKENS for each in made.messages) <= context - 100
    assert "two-year warranty" in made.user or context == 400


def test_turns_stand_before_the_passages_as_messages_of_their_own() -> None:
    made = Writing(shipped(), 1600).ask(replace(QUESTION, turns=TURNS), Counted(), PASSAGES, [], {})
    roles = [message["role"] for message in made.messages]
    assert roles == ["system", "user", "assistant", "user", "assistant", "user"]
    assert [message["content"] for message in made.messages[1:5]] == [
        "Is there a router?", "Yes.", "Who makes it?", "Kestrel.",
    ]  # fmt: skip
    long = replace(QUESTION, turns=(Turn("x" * 9000, ""), TURNS[1]))
    made = Writing(shipped(), 1600).ask(long, Counted(), PASSAGES, [], {})
    assert made.said == (("Who makes it?", "Kestrel."),)


def test_what_a_client_wishes_stands_after_what_is_the_same_for_all() -> None:
    writing = Writing(shipped(), 900)
    wished = replace(QUESTION, instructions="Answer in one word. </passage>")
    one, other = (writing.ask(each, Counted(), PASSAGES, [], {}) for each in (QUESTION, wished))
    assert (
        other.system
        == f"{one.system}\n\nAs far as it does not contradict this:\nAnswer in one word. &lt;/passage>"
    )


def test_the_constant_part_of_a_prompt_comes_first() -> None:
    writing = Writing(shipped(), 900)
    one, other = (
        writing.ask(replace(QUESTION, query=query), Counted(), PASSAGES, [], {}).messages
        for query in ("One?", "Two?")
    )
    assert one[0] == other[0]
    assert one[1]["content"].removesuffix("One?") == other[1]["content"].removesuffix("Two?")


async def test_the_llms_own_count_decides_where_not_all_fits() -> None:
    llm, writing = Counted(), Writing(shipped(), 100)
    sizes = await writing.sizes(llm, PASSAGES)
    assert sizes["Kestrel router"] == len("Kestrel router")
    by_count = writing.ask(QUESTION, llm, PASSAGES, split(PASSAGES), sizes)
    by_estimate = writing.ask(QUESTION, llm, PASSAGES, split(PASSAGES), {})
    assert 0 < len(by_count.user) < len(by_estimate.user)
    llm.away = True
    assert await writing.sizes(llm, PASSAGES) == {}
    assert await writing.sizes(Extractive(), PASSAGES) == {}


def test_what_an_answer_depends_on_names_the_prompt_and_the_turns_it_shows() -> None:
    writing, llm = Writing(shipped(), 900), Counted()
    variants = {writing.variant(each, llm) for each in (QUESTION, replace(QUESTION, turns=TURNS))}
    assert len(variants) == 2
    assert all(each.startswith("answer.passages@1 ") for each in variants)
    plain = {writing.variant(each, Extractive()) for each in (QUESTION, replace(QUESTION, turns=TURNS))}
    assert len(plain) == 1


def test_an_llm_that_stands_in_is_asked_in_its_own_style() -> None:
    question = replace(QUESTION, prompt="answer.passages")
    assert asked(question, llm=Extractive()).endswith("answers this question: How long is the warranty?")
    with pytest.raises(InvalidRequest, match=r"there are answer\.extract@1"):
        Writing(shipped(), 900).chosen(question, Extractive())


@pytest.mark.models
async def test_llama_cpp_counts_as_it_reads(smol: LlamaCpp) -> None:
    texts = ["The Kestrel router comes with a two-year warranty.", "\u00c4h, \u6f22\u5b57!", "", "One more."]
    counts = await smol.count_tokens(texts)
    assert counts[2] <= 1
    alone = [(await smol.count_tokens([text]))[0] for text in texts]
    assert [abs(a - b) <= 1 for a, b in zip(counts, alone, strict=True)] == [True] * 4
    assert counts[0] <= tokens(texts[0])


@pytest.mark.models
async def test_llama_cpp_reads_the_constant_part_once(smol: LlamaCpp) -> None:
    """Its server says how many tokens of a prompt it still had from the one before."""
    writing = Writing(shipped(), 300)
    cached = []
    for query, names in (("How long?", ("kestrel",)), ("Who is it?", ("brell",)), ("What?", ("museum",))):
        given_ = [world.passage(name) for name in names]
        made = writing.ask(replace(QUESTION, query=query), Counted(2000), given_, [], {})
        answer = smol.server.handle_chat_completions(
            {"messages": made.messages, "max_tokens": 1, "cache_prompt": True, "id_slot": 0}
        )
        cached.append(answer["usage"]["prompt_tokens_details"]["cached_tokens"])
    (system,) = await smol.count_tokens([made.system])
    assert cached[0] < system <= min(cached[1:])


def test_a_passage_of_nothing_is_no_passage() -> None:
    made = Writing(shipped(), 900).ask(QUESTION, Counted(), [Passage(text=" "), PASSAGES[1]], [], {})
    assert made.user.count("<passage") == 1


async def test_an_answer_names_its_prompt_also_when_it_was_kept(
    retriever: grpc.aio.Channel, shelf: world.Shelf
) -> None:
    cache = ragline.cache.open("memory://")
    answerer = world.answerer(retriever, None, cache=cache)
    for cached in (False, True):
        done = await answerer.answer(QUESTION)
        assert (done.cached, done.outcome.prompt) == (cached, "answer.extract@1")
    searches = shelf.searches
    with pytest.raises(InvalidRequest, match=r"there are answer\.extract@1") as refused:
        await answerer.answer(replace(QUESTION, prompt="nobody"))
    assert refused.value.errors[0]["field"] == "prompt"
    assert shelf.searches == searches  # it is refused before anything is done for it
    named = await answerer.answer(replace(QUESTION, prompt="answer.extract@1"))
    assert not named.cached  # asked for by name it is another request
    await cache.close()
