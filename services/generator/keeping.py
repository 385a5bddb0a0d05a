"""Keeps answers: who asks the same of the same generation gets the kept one, or reads along with the first."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import AsyncGenerator, Callable
from contextlib import aclosing
from dataclasses import asdict, dataclass, replace

import orjson

from ragline.cache import Cache
from ragline.context import new_id
from ragline.v1.retriever_pb2 import SearchResponse
from services.generator.checks.citations import Citation
from services.generator.events import (
    Anew,
    Cited,
    Event,
    Finding,
    Outcome,
    Passages,
    Question,
    Ranked,
    Spent,
    Token,
    Unsupported,
)
from services.generator.llms import Usage
from services.generator.room import Room
from services.generator.semantic import Semantic
from services.generator.shared import SharedStreams

Written = AsyncGenerator[Event | Anew | Outcome, None]
PREFIX = "answer:"
CLAIM_S = 10.0  # how long another replica is waited for, as long as it seems to be at work
FIRST_PAUSE_S, LONGEST_PAUSE_S = 0.02, 0.5


@dataclass(frozen=True)
class Asked:
    """A question, what was found for it, what else its answer depends on, and the key of all that."""

    question: Question
    found: SearchResponse
    variant: str
    key: str


class Answers:
    """A cache in front of the writing of answers. ``cache`` None: equal questions at once still share one.

    Replicas that share the cache share the work, too: one claims it, the others wait for what it keeps. A replica
    that is gone, or takes long, or has a cache that is away, is not waited for: then each writes its own.
    """

    def __init__(self, cache: Cache | None, ttl_s: float, room: Room, semantic: Semantic | None = None) -> None:
        self.cache = cache
        self.semantic = semantic
        self.ttl_s = ttl_s
        self.room = room
        self.shared: SharedStreams[Event | Anew | Outcome] = SharedStreams(lambda event: isinstance(event, Anew))

    async def get(
        self, question: Question, found: SearchResponse, variant: str, make: Callable[[], Written]
    ) -> Written:
        """The events of the answer; ``variant`` says what else it depends on.

        What is explained or drawn at a temperature is made anew each time. An answer made without the
        reranker, the LLM or half of the search is not kept, nor is one that a scorer on trial chose the passages
        of: its key stands for whoever serves. Equal questions at once share that one, too, as all of them are
        the canary's.
        """
        caller = question.caller
        with self.room.enter():
            if question.explain or question.temperature > 0:
                source = self.shared.join(new_id(), make, caller)
            else:
                key = key_of(question, found, variant)
                kept = await self.read(key)
                asked = Asked(question, found, variant, key)
                source = (
                    replay(kept, found) if kept else self.shared.join(key, lambda: self.find(asked, make), caller)
                )
            async with aclosing(source):
                async for event in source:
                    yield event

    async def find(self, asked: Asked, make: Callable[[], Written]) -> Written:
        """The events of the answer that another replica is writing, of one to a like question, or of a new one."""
        kept, claimed = await self.turn(asked.key)
        like = ""
        try:
            if kept is None and self.semantic:
                kept, like = await self.alike(asked, self.semantic)
            source = replay(kept, asked.found, like) if kept else self.keep(asked, make)
            async with aclosing(source) as events:
                async for event in events:
                    # Nothing is coming that others could wait for. With the last event readers leave, and the
                    # last reader ends this.
                    over = isinstance(event, Outcome) or (isinstance(event, Passages) and event.trial)
                    if claimed and self.cache and over:
                        claimed = False
                        await self.cache.release(asked.key)
                    yield event
        finally:
            if claimed and self.cache:
                await self.cache.release(asked.key)

    async def alike(self, asked: Asked, semantic: Semantic) -> tuple[bytes | None, str]:
        """The kept answer to a question that asks the same, if all it cites was found now, and that question."""
        like = await semantic.like(asked.question, asked.found, asked.variant)
        if like is None:
            return None, ""
        kept = await self.read(like.key)
        refusal = "gone" if kept is None else "" if rests(kept, asked.found) else "passages"
        semantic.tell(refusal or "hit")
        return (None, "") if refusal else (kept, like.question)

    async def turn(self, key: str) -> tuple[bytes | None, bool]:
        """The answer once it is kept, or None when it is this replica's to write; and whether it has the claim."""
        if self.cache is None or await self.cache.claim(key, CLAIM_S):
            return None, True
        pause_s = FIRST_PAUSE_S
        waited_s = 0.0
        while waited_s < CLAIM_S:
            await asyncio.sleep(pause_s)
            waited_s += pause_s
            pause_s = min(LONGEST_PAUSE_S, pause_s * 1.5)
            if kept := await self.read(key):
                return kept, False
            if await self.cache.claim(key, CLAIM_S):
                return None, True
        return None, False

    async def keep(self, asked: Asked, make: Callable[[], Written]) -> Written:
        """The events of a new answer, which is kept when it is done."""
        shown = Passages(())
        async with aclosing(make()) as events:
            async for event in events:
                if isinstance(event, Passages):
                    shown = event
                elif isinstance(event, Outcome) and self.cache and not event.degraded and not shown.trial:
                    await self.cache.set_many({asked.key: packed(event, shown.ranked)}, self.ttl_s)
                    if self.semantic and event.citations and not event.abstained:
                        await self.semantic.learn(asked.question, asked.found, asked.variant, asked.key)
                yield event

    async def read(self, key: str) -> bytes | None:
        """What is kept under a key."""
        return (await self.cache.get_many([key]))[0] if self.cache else None


def key_of(question: Question, found: SearchResponse, variant: str) -> str:
    """Everything that an answer depends on: tenant, collection, generation, passages, question and variant.

    The passages with all that they say: a record that was restored from a backup counts its generations again.
    The scores are left out, whose last digits depend on what else was searched at the same time.
    """
    result = found.results[0]
    # The generation says what was waited for, and the query what its conversation makes of it.
    retrieval = replace(question.retrieval, wait_for=0)
    asked = replace(question, retrieval=retrieval, session_id="", turns=())
    parts = [asdict(asked), found.generation, list(found.degraded), variant]
    digest = hashlib.sha256(orjson.dumps(parts))
    for part in (result.statistics, *(hit.passage for hit in result.hits)):
        said = part.SerializeToString(deterministic=True)
        digest.update(len(said).to_bytes(4, "little"))
        digest.update(said)
    return PREFIX + digest.hexdigest()


def packed(outcome: Outcome, ranked: tuple[Ranked, ...]) -> bytes:
    """An answer as it is kept: its passages by their ids, with their scores."""
    return orjson.dumps(
        {
            "answer": outcome.answer,
            "citations": [asdict(citation) for citation in outcome.citations],
            "abstained": outcome.abstained,
            "unsupported": [asdict(each) for each in outcome.unsupported],
            "model": outcome.model,
            "prompt": outcome.prompt,
            "finish": outcome.finish,
            "findings": [asdict(each) for each in outcome.findings],
            "pointers": dict(outcome.pointers),
            "ranked": [(each.passage.id, each.score) for each in ranked],
        }
    )


def rests(kept: bytes, found: SearchResponse) -> bool:
    """Whether all that a kept answer cites is among what was found now, letter by letter."""
    passages = {hit.passage.id: hit.passage for hit in found.results[0].hits}
    citations = [Citation(**citation) for citation in orjson.loads(kept)["citations"]]
    for citation in citations:
        passage = passages.get(citation.passage_id)
        if passage is None or passage.document_id != citation.document_id:
            return False
        source = passage.source or passage.text
        begin = citation.start - passage.start
        if begin < 0 or source[begin : citation.end - passage.start] != citation.quote:
            return False
    return bool(citations)


async def replay(kept: bytes, found: SearchResponse, like: str = "") -> Written:
    """The events of a kept answer; ``like`` is the question it was made for, where that is another one."""
    fields = orjson.loads(kept)
    places = {hit.passage.id: (place, hit) for place, hit in enumerate(found.results[0].hits, 1)}
    citations = tuple(Citation(**citation) for citation in fields["citations"])
    ranked = [(places[id_], score) for id_, score in fields["ranked"] if id_ in places]
    yield Passages(tuple(Ranked(hit, score, place) for (place, hit), score in ranked))
    yield Token(fields["answer"])
    for citation in citations:
        yield Cited(citation)
    yield Spent(Usage(), cached=True, like=like)
    yield Outcome(
        fields["answer"],
        citations,
        fields["abstained"],
        (),
        Usage(),
        fields["model"],
        finish=fields.get("finish", "stop"),
        prompt=fields.get("prompt", ""),
        unsupported=tuple(Unsupported(**each) for each in fields.get("unsupported", ())),
        findings=tuple(Finding(**each) for each in fields.get("findings", ())),
        pointers={pointer: tuple(markers) for pointer, markers in fields.get("pointers", {}).items()},
    )
