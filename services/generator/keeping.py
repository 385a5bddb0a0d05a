"""Keeps answers: who asks the same of the same generation gets the kept one, or reads along with the first."""

from __future__ import annotations

import hashlib
from collections.abc import AsyncGenerator, Callable
from contextlib import aclosing
from dataclasses import asdict

import orjson

from ragline.cache import Cache
from ragline.v1.retriever_pb2 import SearchResponse
from services.generator.citations import Citation
from services.generator.events import Cited, Event, Outcome, Passages, Question, Ranked, Spent, Token
from services.generator.llms import Usage
from services.generator.room import Room
from services.generator.shared import SharedStreams

Written = AsyncGenerator[Event | Outcome, None]
PREFIX = "answer:"


class Answers:
    """A cache in front of the writing of answers. ``cache`` None: equal questions at once still share one."""

    def __init__(self, cache: Cache | None, ttl_s: float, room: Room) -> None:
        self.cache = cache
        self.ttl_s = ttl_s
        self.room = room
        self.shared: SharedStreams[Event | Outcome] = SharedStreams()

    async def get(
        self, question: Question, found: SearchResponse, variant: str, make: Callable[[], Written]
    ) -> Written:
        """The events of the answer; ``variant`` says what else it depends on.

        What is explained or drawn at a temperature is made anew each time. An answer made without the
        reranker, the LLM or half of the search is not kept.
        """
        with self.room.enter():
            if question.explain or question.temperature > 0:
                source = make()
            else:
                key = key_of(question, found, variant)
                kept = await self.read(key)
                source = replay(kept, found) if kept else self.shared.join(key, lambda: self.keep(key, make))
            async with aclosing(source):
                async for event in source:
                    yield event

    async def keep(self, key: str, make: Callable[[], Written]) -> Written:
        """The events of a new answer, which is kept when it is done."""
        ranked: tuple[Ranked, ...] = ()
        async with aclosing(make()) as events:
            async for event in events:
                if isinstance(event, Passages):
                    ranked = event.ranked
                elif isinstance(event, Outcome) and self.cache and not event.degraded:
                    await self.cache.set_many({key: packed(event, ranked)}, self.ttl_s)
                yield event

    async def read(self, key: str) -> bytes | None:
        """What is kept under a key."""
        return (await self.cache.get_many([key]))[0] if self.cache else None


def key_of(question: Question, found: SearchResponse, variant: str) -> str:
    """Everything that an answer depends on: tenant, collection, generation, passages, question and variant."""
    hits = [hit.passage.id for hit in found.results[0].hits]
    parts = [asdict(question), found.generation, hits, list(found.degraded), variant]
    return PREFIX + hashlib.sha256(orjson.dumps(parts)).hexdigest()


def packed(outcome: Outcome, ranked: tuple[Ranked, ...]) -> bytes:
    """An answer as it is kept: its passages by their place among the hits, whose ids are in the key."""
    return orjson.dumps(
        {
            "answer": outcome.answer,
            "citations": [asdict(citation) for citation in outcome.citations],
            "abstained": outcome.abstained,
            "model": outcome.model,
            "ranked": [(each.place, each.score) for each in ranked],
        }
    )


async def replay(kept: bytes, found: SearchResponse) -> Written:
    """The events of a kept answer."""
    fields = orjson.loads(kept)
    hits = found.results[0].hits
    citations = tuple(Citation(**citation) for citation in fields["citations"])
    yield Passages(tuple(Ranked(hits[place - 1], score, place) for place, score in fields["ranked"]))
    yield Token(fields["answer"])
    for citation in citations:
        yield Cited(citation)
    yield Spent(Usage(), cached=True)
    yield Outcome(fields["answer"], citations, fields["abstained"], (), Usage(), fields["model"])
