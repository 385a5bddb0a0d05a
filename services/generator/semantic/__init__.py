"""Finds a kept answer to a question that asks the same in other words. Off unless it is asked for.

Near vectors propose; then the words that questions turn on must agree (see ``sameness``), then the reranker, both
ways, and last the passages: all that the kept answer cites must be among those found now, letter by letter.
"""

from __future__ import annotations

import asyncio
import hashlib
from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace

import numpy as np
import orjson
import structlog
from numpy.typing import NDArray

from ragline import metrics
from ragline.cache import Cache
from ragline.errors import RaglineError
from ragline.v1.passage_pb2 import Statistics
from ragline.v1.reranker_pb2 import Candidate, Match
from ragline.v1.retriever_pb2 import SearchResponse
from services.generator.events import Question
from services.generator.semantic.sameness import Sense, Word, differ
from services.generator.sources import Sources

PREFIX = "alike:"
CLOSEST = 3  # so many of the nearest are looked at closely
MAX_LOCKS = 1024

Vectors = NDArray[np.float32]

log = structlog.get_logger(__name__)
counted = metrics.counter(
    "ragline_semantic_cache",
    "Questions looked up among those like them: hit, none near, or why the nearest was refused.",
    ("result",),
)


@dataclass(frozen=True)
class Choices:
    """See the settings GENERATOR_SEMANTIC_*; all but ``entries`` and ``scorer`` are from 0 to 1."""

    cosine: float = 0.8
    agreement: float = 0.65
    words: float = 0.65
    entries: int = 256
    scorer: str = "late_interaction"


@dataclass(frozen=True)
class Kept:
    """Questions that were answered, the latest last: their texts, their answers' keys, their unit vectors."""

    questions: tuple[str, ...]
    keys: tuple[str, ...]
    vectors: Vectors


@dataclass(frozen=True)
class Like:
    """A question that asks the same, and the key of its answer."""

    question: str
    key: str


class Semantic:
    """Looks through the questions of one tenant, collection, generation and way of asking, and no others."""

    def __init__(self, cache: Cache, sources: Sources, choices: Choices, ttl_s: float) -> None:
        self.cache = cache
        self.sources = sources
        self.choices = choices
        self.ttl_s = ttl_s
        self.locks: OrderedDict[str, asyncio.Lock] = OrderedDict()

    async def like(self, question: Question, found: SearchResponse, variant: str) -> Like | None:
        """A kept question that asks the same; None where there is none, or nothing to judge it by."""
        vector = vector_of(found)
        if vector is None:
            return None
        kept = unpacked((await self.cache.get_many([group(question, found, variant)]))[0])
        refusals: list[str] = []
        for at in self.nearest(kept, vector):
            refusals.append(await self.refusal(question.query, kept.questions[at]))
            if not refusals[-1]:
                return Like(kept.questions[at], kept.keys[at])
        self.tell(refusals[0] if refusals else "none")
        return None

    @staticmethod
    def tell(result: str) -> None:
        """Count what came of a question."""
        counted.labels(result).inc()

    def nearest(self, kept: Kept, vector: Vectors) -> list[int]:
        """The places of the nearest questions, if they are near enough."""
        if not kept.questions or kept.vectors.shape[1] != len(vector):
            return []
        cosines = kept.vectors @ vector
        order = np.argsort(-cosines, kind="stable")[:CLOSEST].tolist()
        return [at for at in order if cosines[at] >= self.choices.cosine]

    async def refusal(self, one: str, other: str) -> str:
        """Why two questions are not taken for the same; empty where they are."""
        first, second = Sense(one), Sense(other)
        if reason := differ(first, second):
            return reason
        try:
            there, back = await asyncio.gather(self.compared(one, other), self.compared(other, one))
        except RaglineError as error:
            log.warning("questions are not compared", reason=error.detail)
            return "away"
        if there is None or back is None:
            return "away"
        if min(there[0], back[0]) < self.choices.agreement:
            return "agreement"
        return differ(first, second, Near(there[1], back[1], self.choices.words))

    async def compared(self, one: str, other: str) -> tuple[float, Sequence[Match]] | None:
        """How well one question is matched by the other, and which words match; None where nobody can say."""
        if self.sources.reranker is None:
            return None
        scores = await self.sources.rerank(
            one, [Candidate(text=other)], Statistics(), self.choices.scorer, explain=True
        )
        entry = scores.entries[0]
        return (entry.raw, entry.matches) if scores.scorer == self.choices.scorer and entry.matches else None

    async def learn(self, question: Question, found: SearchResponse, variant: str, key: str) -> None:
        """Remember that the question was answered under ``key``."""
        vector = vector_of(found)
        if vector is None:
            return
        name = group(question, found, variant)
        async with self.lock(name):
            kept = unpacked((await self.cache.get_many([name]))[0])
            grown = added(kept, question.query, key, vector, self.choices.entries)
            await self.cache.set_many({name: packed(grown)}, self.ttl_s)

    def lock(self, name: str) -> asyncio.Lock:
        """Lets one change at a time be made to a list here; replicas may still lose each other's."""
        lock = self.locks.pop(name, None) or asyncio.Lock()
        self.locks[name] = lock
        while len(self.locks) > MAX_LOCKS:
            self.locks.popitem(last=False)
        return lock


@dataclass(frozen=True)
class Near:
    """The reranker's matches both ways, as ``differ`` asks for them."""

    there: Sequence[Match]
    back: Sequence[Match]
    least: float

    def __call__(self, first: bool, word: Word) -> int:
        """Where what means the same begins, or -1."""
        of = self.there if first else self.back
        inside = [match for match in of if word.start <= match.query_start < word.end]
        if not inside or min(match.similarity for match in inside) < self.least:
            return -1
        return inside[0].start


def vector_of(found: SearchResponse) -> Vectors | None:
    """The query's unit vector, where the search gave it and nothing was missing from it."""
    raw = np.frombuffer(found.results[0].vector, dtype="<f4")
    length = float(np.linalg.norm(raw))
    return None if found.degraded or not length else (raw / length).astype(np.float32)


def group(question: Question, found: SearchResponse, variant: str) -> str:
    """What a question must share with a kept one: everything but its words."""
    retrieval = replace(question.retrieval, wait_for=0)
    asked = replace(question, query="", retrieval=retrieval, session_id="", turns=())
    parts = [asdict(asked), found.generation, variant]
    return PREFIX + hashlib.sha256(orjson.dumps(parts)).hexdigest()


def added(kept: Kept, question: str, key: str, vector: Vectors, most: int) -> Kept:
    """One more question, as the latest; the oldest go, and so does an earlier one of the same words."""
    if kept.questions and kept.vectors.shape[1] != len(vector):
        kept = NOTHING
    stay = [at for at, each in enumerate(kept.questions) if each != question][-(most - 1) :] if most > 1 else []
    rows = [*(kept.vectors[at] for at in stay), vector]
    return Kept(
        (*(kept.questions[at] for at in stay), question),
        (*(kept.keys[at] for at in stay), key),
        np.array(rows, dtype=np.float32),
    )


NOTHING = Kept((), (), np.zeros((0, 0), dtype=np.float32))


def packed(kept: Kept) -> bytes:
    """A list as it is kept: texts as JSON on one line, then the vectors in half precision."""
    head = orjson.dumps([kept.questions, kept.keys])
    return head + b"\n" + kept.vectors.astype("<f2").tobytes()


def unpacked(value: bytes | None) -> Kept:
    """What ``packed`` gave."""
    if value is None:
        return NOTHING
    head, _, raw = value.partition(b"\n")
    questions, keys = orjson.loads(head)
    vectors = np.frombuffer(raw, dtype="<f2").reshape(len(questions), -1).astype(np.float32)
    return Kept(tuple(questions), tuple(keys), vectors)
