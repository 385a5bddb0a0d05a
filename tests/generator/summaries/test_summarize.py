"""Summaries of text of any length."""

import asyncio
from collections.abc import AsyncGenerator

import grpc
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

import ragline.cache
from ragline.errors import InvalidRequest, NotFound, TooLarge, Unavailable
from services.generator import prompt
from services.generator.events import Token
from services.generator.llms import Piece, Usage
from services.generator.llms.extractive import Extractive
from services.generator.prompt import Prompt
from services.generator.summaries.kept import Progress, Summaries, Summary
from services.generator.summaries.outline import Block, blocks, parts
from services.generator.summaries.summarize import Texts, fewer
from tests.generator import world

LONG = " ".join(f"The pump number {at} of the harbour moves {at * 3} litres of water." for at in range(600))


class Opener(Extractive):
    """Says how the text begins, what else it says, and adds something invented; counts what runs at once."""

    name = "opener"
    context_tokens = 1024

    def __init__(self, said: str = "") -> None:
        super().__init__()
        self.said = said
        self.longest = self.running = self.most = self.calls = 0

    async def generate(self, ask: Prompt, *, max_tokens: int, temperature: float) -> AsyncGenerator[Piece, None]:
        self.calls += 1
        self.running += 1
        self.most = max(self.most, self.running)
        self.longest = max(self.longest, prompt.tokens(ask.user))
        await asyncio.sleep(0)
        first = min(ask.sentences, key=lambda each: each.start)
        yield Piece(f"{first.text} {self.said}")
        self.running -= 1
        yield Piece(usage=Usage(5, 2))


class Waiting(Opener):
    """Begins, and never comes to an end by itself."""

    def __init__(self) -> None:
        super().__init__()
        self.begun, self.ended = asyncio.Event(), asyncio.Event()

    async def generate(self, ask: Prompt, *, max_tokens: int, temperature: float) -> AsyncGenerator[Piece, None]:
        self.running += 1
        self.begun.set()
        try:
            await asyncio.Event().wait()
            yield Piece()
        finally:
            self.running -= 1
            if not self.running:
                self.ended.set()


class Broken(Opener):
    """Is away."""

    async def generate(self, ask: Prompt, *, max_tokens: int, temperature: float) -> AsyncGenerator[Piece, None]:
        if ask.sentences:
            raise Unavailable("It is away.")
        yield Piece()


def texts(text: str | None, *ids: str) -> Texts:
    return Texts("default", "default", text, ids)


async def test_short_text_takes_one_step(retriever: grpc.aio.Channel) -> None:
    llm = Opener()
    made = await world.summarizer(retriever, llm=llm).summarize(texts(world.QUEUE_SOURCE), 100)
    assert made.summary == "A lost message is sent again after a back-off of five seconds."
    assert (llm.calls, made.usage, made.model, made.degraded) == (1, Usage(5, 2), "opener", ())
    assert made.timings_ms["total"] > 0


async def test_long_text_is_mapped_and_reduced(retriever: grpc.aio.Channel) -> None:
    llm = Opener()
    made = await world.summarizer(retriever, llm=llm).summarize(texts(LONG), 100)
    assert made.summary == "The pump number 0 of the harbour moves 0 litres of water."
    assert llm.calls > 5
    assert llm.most == 2  # as the limits say
    assert llm.longest <= llm.context_tokens
    assert made.usage == Usage(5 * llm.calls, 2 * llm.calls)


async def test_what_the_text_does_not_hold_is_dropped(retriever: grpc.aio.Channel) -> None:
    llm = Opener("It was built by Karl Marx. It cost 77 euros. Dead letters can be listed.")
    made = await world.summarizer(retriever, llm=llm).summarize(texts(world.QUEUE_SOURCE), 100)
    assert "Marx" not in made.summary
    assert "77" not in made.summary
    assert made.summary.endswith("Dead letters can be listed.")


async def test_goes_on_without_the_llm(retriever: grpc.aio.Channel) -> None:
    made = await world.summarizer(retriever, llm=Broken()).summarize(texts(LONG), 100)
    assert (made.model, made.degraded) == ("extractive", ("llm", "llm:opener"))
    assert "The pump number" in made.summary


async def test_documents_of_a_collection(retriever: grpc.aio.Channel) -> None:
    asked = world.summarizer(retriever)
    made = await asked.summarize(texts(None, "queue", "museum", "queue"), 1000)
    assert "lost message" in made.summary
    assert "fishing boats" in made.summary
    with pytest.raises(NotFound):
        await asked.summarize(texts(None, "nowhere"), 100)


async def test_limits(retriever: grpc.aio.Channel) -> None:
    asked = world.summarizer(retriever, max_chars=100)
    with pytest.raises(TooLarge, match="GENERATOR_MAX_SUMMARY_CHARS"):
        await asked.summarize(texts(LONG), 100)
    with pytest.raises(InvalidRequest):
        await asked.summarize(texts(" \n\t"), 100)


async def test_the_stream_is_the_summary(retriever: grpc.aio.Channel) -> None:
    events = [event async for event in world.summarizer(retriever).stream(texts(world.QUEUE_SOURCE), 100)]
    done = events[-1]
    assert isinstance(done, Summary)
    assert "".join(event.text for event in events if isinstance(event, Token)) == done.summary


@settings(deadline=None)
@given(st.text(max_size=3000), st.integers(64, 400))
def test_parts_hold_all_text_within_the_budget(text: str, budget: int) -> None:
    found = [Block("A heading > " * 20, tuple(piece for block in blocks("", "", text) for piece in block.pieces))]
    cut = parts([block for block in found if block.pieces], budget)
    assert all(prompt.tokens(part.text) <= budget for part in cut)
    held = "".join(piece.text for block in found for piece in block.pieces)
    assert "".join("".join(p.text for part in cut for p in part.pieces).split()) == "".join(held.split())
    for part in cut:
        assert [part.text[start:end] for start, end in part.spans] == [piece.text for piece in part.pieces]


def test_a_line_without_an_end_is_cut() -> None:
    cut = parts(list(blocks("a", "", "word" * 25_000)), 500)
    assert "".join(piece.text for part in cut for piece in part.pieces) == "word" * 25_000
    assert all(prompt.tokens(part.text) <= 500 for part in cut)
    assert all(
        origin.end - origin.start == len(p.text) for part in cut for p in part.pieces for origin in p.origins
    )


GUIDE = """# Guide

It is short.

## Install

Run the program. Then wait.

Use
---

Ask it something. It answers.
"""


def test_sections_are_known_by_their_headings() -> None:
    found = list(blocks("guide", "Manual", GUIDE))
    assert [(block.heading, len(block.pieces)) for block in found] == [
        ("Manual > Guide", 1),
        ("Manual > Guide > Install", 2),
        ("Manual > Guide > Use", 2),
    ]
    for block in found:
        for piece in block.pieces:
            (origin,) = piece.origins
            assert GUIDE[origin.start : origin.end] == piece.text
    (part,) = parts(found, 400)
    assert part.text.startswith("Manual > Guide:\nIt is short.\nManual > Guide > Install:\nRun the program.")
    assert part.heading == "Manual > Guide"
    start = part.text.index("Then wait.")
    assert part.origins(start, start + 10) == found[1].pieces[1].origins


@settings(deadline=None, max_examples=100)
@given(st.lists(st.text(min_size=1, max_size=400), min_size=2, max_size=12), st.integers(64, 128))
@example(["0"] * 12, 68)  # the headings fill the parts
def test_rounds_come_to_an_end(texts: list[str], budget: int) -> None:
    """Even where an LLM sums nothing up and writes all of it again."""
    left = parts([block for at, text in enumerate(texts) for block in blocks(str(at), "T" * 90, text)], budget)
    while len(left) > 1:
        made = fewer([Block(part.heading, tuple(part.pieces)) for part in left], left, budget)
        assert len(made) < len(left)
        left = made


async def test_says_how_far_it_is_and_where_sentences_come_from(retriever: grpc.aio.Channel) -> None:
    asked = world.summarizer(retriever, llm=Opener())
    events = [event async for event in asked.stream(texts(LONG), 100)]
    steps = [event for event in events if isinstance(event, Progress)]
    assert isinstance(events[0], Progress)
    assert steps[0].done == 0
    assert steps[0].documents[0].characters == len(LONG)
    assert [step.done for step in steps] == list(range(len(steps)))
    assert all(step.done <= step.parts for step in steps)
    done = events[-1]
    assert isinstance(done, Summary)
    (cited,) = done.citations
    assert done.summary[cited.begin : cited.stop] == cited.quote == LONG[cited.start : cited.end]


async def test_each_document_is_named_and_cited(retriever: grpc.aio.Channel) -> None:
    made = await world.summarizer(retriever).summarize(texts(None, "queue", "museum"), 1000)
    assert [each.id for each in made.documents] == ["queue", "museum"]
    assert {each.document_id for each in made.citations} == {"queue", "museum"}
    for each in made.citations:
        source = world.SOURCES[each.document_id][1]
        assert source[each.start : each.end] == each.quote


async def test_looks_at_what_is_asked_for(retriever: grpc.aio.Channel) -> None:
    towns = " ".join(f"In the town of {name} the mayor likes old boats." for name in ("Brell", "Zennor", "Orvan"))
    text = f"{LONG} {towns} {LONG}"
    llm = Opener()
    asked = Texts("default", "default", text, query="Who likes boats in Zennor?")
    made = await world.summarizer(retriever, llm=llm).summarize(asked, 100)
    assert llm.calls < 4
    made = await world.summarizer(retriever).summarize(asked, 30)
    assert "Zennor" in made.summary


async def test_equal_requests_share_one_summary_and_later_ones_get_the_kept_one(
    retriever: grpc.aio.Channel,
) -> None:
    llm = Opener()
    asked = world.summarizer(retriever, llm=llm)
    asked.kept = Summaries(ragline.cache.open("memory://"), 60.0)
    both = await asyncio.gather(*(asked.summarize(texts(world.QUEUE_SOURCE), 100) for _ in range(2)))
    later = await asked.summarize(texts(world.QUEUE_SOURCE), 100)
    assert llm.calls == 1
    assert [each.cached for each in (*both, later)] == [False, False, True]
    assert later.usage == Usage()
    assert (later.summary, later.citations) == (both[0].summary, both[0].citations)
    assert await asked.summarize(texts(world.QUEUE_SOURCE + "."), 100)
    assert llm.calls == 2


async def test_who_leaves_ends_all_parts(retriever: grpc.aio.Channel) -> None:
    llm = Waiting()
    asked = world.summarizer(retriever, llm=llm)
    events = asked.stream(texts(LONG), 100)
    assert isinstance(await anext(events), Progress)
    step = asyncio.ensure_future(anext(events))
    await llm.begun.wait()
    step.cancel()
    await asyncio.wait([step])
    await llm.ended.wait()
    assert (llm.running, asked.room.taken) == (0, 0)
