"""Asks the reranker how alike a claim and pieces of passages are, where their words alone do not settle it."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass

import structlog

from ragline.errors import Internal, InvalidRequest, Overloaded, RaglineError, TimedOut, Unavailable
from ragline.v1.passage_pb2 import Statistics
from ragline.v1.reranker_pb2 import RerankScore
from services.generator.checks.citations import Source, number
from services.generator.checks.evidence import WORD, Sentence, fold
from services.generator.checks.pieces import Pieces
from services.generator.events import Ranked
from services.generator.sources import Sources

# So many claims are asked about at once.
AT_ONCE = 8

log = structlog.get_logger(__name__)


@dataclass(frozen=True)
class Likeness:
    """``words`` are the cosines of a claim's folded words to the word of a passage that is most like each."""

    words: dict[str, float]


class Judge:
    """The reranker, asked about the passages of one answer; once it is away it is not asked again."""

    def __init__(self, sources: Sources, ranked: Sequence[Ranked], statistics: Statistics, scorer: str) -> None:
        self.sources = sources
        self.ranked = ranked
        self.statistics = statistics
        self.scorer = scorer
        self.away = False

    async def compare(self, pairs: Sequence[tuple[str, Sequence[Source]]]) -> list[list[Likeness]]:
        """How alike each claim and each of its pieces are; nothing of a claim where that could not be had."""
        made: list[list[Likeness]] = []
        for start in range(0, len(pairs), AT_ONCE):
            part = pairs[start : start + AT_ONCE]
            made.extend(await asyncio.gather(*(self.one(claim, pieces) for claim, pieces in part)))
        return made

    async def one(self, claim: str, pieces: Sequence[Source]) -> list[Likeness]:
        """The likeness of a claim to each of the pieces, or none."""
        if self.away or not pieces:
            return []
        asked = Pieces([self.sentence(each) for each in pieces], self.ranked)
        try:
            made = await self.sources.rerank(claim, asked.candidates, self.statistics, self.scorer, explain=True)
        except (Unavailable, TimedOut, Overloaded, Internal, InvalidRequest) as error:
            self.lost(error)
            return []
        if asked.scores(made) is None or made.scorer != self.scorer:
            return []
        return [likeness(claim, made.entries[at]) for at, _ in asked.places]

    def sentence(self, piece: Source) -> Sentence:
        """The piece as one that is scored."""
        text = self.ranked[piece.passage].passage.text[piece.start : piece.end]
        return Sentence(piece.passage, piece.start, piece.end, text)

    def lost(self, error: RaglineError) -> None:
        """Ask no more: a claim after the other would wait."""
        self.away = True
        log.warning("going on without the reranker", reason=error.detail)


def likeness(claim: str, entry: RerankScore) -> Likeness:
    """Word pieces put together to words: each is as like as its least like piece."""
    words: dict[str, float] = {}
    for each in WORD.finditer(claim):
        word = number(fold(each.group()))
        for match in entry.matches:
            if each.start() <= match.query_start < each.end():
                words[word] = min(words.get(word, 1.0), match.similarity)
    return Likeness(words)
