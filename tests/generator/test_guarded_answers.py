"""Guards on the whole read path: what is searched, prompted, said, kept and stored."""

from collections.abc import AsyncGenerator, Sequence
from typing import Any

import grpc
import pytest

from ragline.cache.memory import MemoryCache
from ragline.errors import Refused
from ragline.v1.passage_pb2 import Passage
from services.generator import rpc, wire
from services.generator.answer import Answerer
from services.generator.events import Done, Finding, Passages, Question, Ranked
from services.generator.guarding import open_guards
from services.generator.guards._masking import BLANK
from services.generator.llms import Piece
from services.generator.prompt import Prompt
from services.generator.steps import Steps
from tests.generator import world

SECRET = "Kestrel-77-lamp"
TEXT = f"The gate of the harbour has a code. The harbour password is {SECRET}. Boats leave the harbour at noon."
ASKED = "What is the harbour password?"


class Stored:
    """Records that are kept here."""

    def __init__(self) -> None:
        self.questions: list[Question] = []
        self.passages: list[Ranked] = []

    async def keep(self, question: Question, done: Done, ranked: Sequence[Ranked]) -> None:
        self.questions.append(question)
        self.passages += ranked


@pytest.fixture
def harbour(shelf: world.Shelf) -> world.Shelf:
    shelf.passages.append(Passage(id="h#0", document_id="h", title="Harbour", text=TEXT, end=len(TEXT)))
    shelf.passages[-1].metadata_json = "{}"
    return shelf


def guarded(
    retriever: grpc.aio.Channel, guards: dict[str, Any], records: Stored | None = None, **more: Any
) -> Answerer:
    made = world.answerer(retriever, None, **more)
    made.steps = Steps(guards=open_guards(guards), records=records)
    return made


def asked(query: str = ASKED) -> Question:
    return Question("default", "default", query, 3, 60)


async def test_a_masked_secret_is_nowhere_and_the_quote_is_as_long_as_its_span(
    retriever: grpc.aio.Channel, harbour: world.Shelf
) -> None:
    stored = Stored()
    answerer = guarded(retriever, {"secrets": {"policy": "mask"}}, stored, cache=MemoryCache(1 << 20))
    for cached in (False, True):
        events = [event async for event in answerer.stream(asked())]
        done = events[-1]
        assert isinstance(done, Done)
        assert done.cached == cached
        assert done.outcome.answer.startswith("The harbour password is [password]. [1]")
        (cited,) = done.outcome.citations
        assert cited.quote == TEXT[cited.start : cited.end].replace(SECRET, len(SECRET) * BLANK)
        assert wire.answer(done)["citations"][0]["masked"] is True
        assert rpc.citation(cited).masked
        assert rpc.message(done).done.findings[0].detail == "password"
        assert done.findings == (Finding("secrets", "passages", "mask", "password"),)
        (shown,) = [event for event in events if isinstance(event, Passages)]
        assert SECRET not in repr([wire.event(event) for event in events])
        assert SECRET not in "".join(str(each.passage) for each in shown.ranked)
    assert SECRET not in "".join(str(each.passage) for each in stored.passages)


async def test_without_a_find_a_citation_says_nothing_of_masks(
    retriever: grpc.aio.Channel, harbour: world.Shelf
) -> None:
    done = await guarded(retriever, {"secrets": {"policy": "mask"}}).answer(
        asked("When do boats leave the harbour?")
    )
    assert "masked" not in wire.answer(done)["citations"][0]


async def test_a_masked_question_is_what_is_searched_and_stored(
    retriever: grpc.aio.Channel, harbour: world.Shelf
) -> None:
    stored = Stored()
    question = asked(f"My password is {SECRET}, when do boats leave the harbour?")
    done = await guarded(retriever, {"secrets": {"policy": "mask"}}, stored).answer(question)
    assert done.query == "My password is [password], when do boats leave the harbour?"
    assert stored.questions[0].query == done.query
    assert done.findings[0] == Finding("secrets", "question", "mask", "password")


async def test_a_refused_question_is_never_searched(retriever: grpc.aio.Channel, harbour: world.Shelf) -> None:
    guards = {"topics": {"policy": "refuse", "blocked": {"gates": ["harbour password"]}}}
    with pytest.raises(Refused):
        await guarded(retriever, guards).answer(asked())
    assert harbour.searches == 0


async def test_a_passage_that_is_refused_leaves_an_abstention_or_other_passages(
    retriever: grpc.aio.Channel, harbour: world.Shelf
) -> None:
    guards = {"secrets": {"policy": {"passages": "refuse"}}}
    events = [event async for event in guarded(retriever, guards).stream(asked())]
    (shown,) = [event for event in events if isinstance(event, Passages)]
    assert "h" not in [each.passage.document_id for each in shown.ranked]
    assert isinstance(events[-1], Done)
    assert events[-1].findings[0].action == "refuse"


async def test_an_answer_that_is_refused_midway_ends_as_an_abstention_and_nothing_was_sent(
    retriever: grpc.aio.Channel, harbour: world.Shelf
) -> None:
    class Teller(world.Reciter):
        async def generate(
            self, prompt: Prompt, *, max_tokens: int, temperature: float
        ) -> AsyncGenerator[Piece, None]:
            yield Piece(f"Boats leave the harbour at noon. The harbour password is {SECRET}. ")
            yield Piece("The gate of the harbour has a code.", finish="stop")

    guards = {"secrets": {"policy": {"answer": "refuse"}}}
    events = [event async for event in guarded(retriever, guards, llm=Teller()).stream(asked())]
    done = events[-1]
    assert isinstance(done, Done)
    assert done.outcome.abstained
    assert done.outcome.citations == ()
    assert "noon" not in repr([wire.event(each) for each in events[1:]])
    assert Finding("secrets", "answer", "refuse", "password") in done.findings


async def test_other_guards_make_another_answer(retriever: grpc.aio.Channel, harbour: world.Shelf) -> None:
    cache = MemoryCache(1 << 20)
    plain = await guarded(retriever, {}, cache=cache).answer(asked())
    masked = await guarded(retriever, {"secrets": {"policy": "mask"}}, cache=cache).answer(asked())
    assert SECRET in plain.outcome.answer
    assert SECRET not in masked.outcome.answer
    assert not masked.cached
