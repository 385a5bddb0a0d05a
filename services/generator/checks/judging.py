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
    """``score`` is MaxSim of the claim over the piece's words, up to 1.

    ``words`` are the cosines of the claim's folded words to the word of the whole passage that is most like each,
    ``inside`` those of them for which that word stands in the piece.
    """

    score: float
    words: dict[str, float]
    inside: frozenset[str]


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
        scores = asked.scores(made)
        if scores is None or made.scorer != self.scorer:
            return []
        found = []
        for score, (at, span) in zip(scores, asked.places, strict=True):
            candidate = asked.candidates[at]
            bounds = (0, len(candidate.text)) if span is None else candidate.spans[2 * span : 2 * span + 2]
            found.append(likeness(claim, score, made.entries[at], bounds))
        return found

    def sentence(self, piece: Source) -> Sentence:
        """The piece as one that is scored."""
        text = self.ranked[piece.passage].passage.text[piece.start : piece.end]
        return Sentence(piece.passage, piece.start, piece.end, text)

    def lost(self, error: RaglineError) -> None:
        """Ask no more: a claim after the other would wait."""
        self.away = True
        log.warning("going on without the reranker", reason=error.detail)


def likeness(claim: str, score: float, entry: RerankScore, bounds: Sequence[int]) -> Likeness:
    """Word pieces put together to words: each is as like as its least like piece."""
    start, end = bounds
    words: dict[str, float] = {}
    outside: set[str] = set()
    for each in WORD.finditer(claim):
        word = number(fold(each.group()))
        for match in entry.matches:
            if each.start() <= match.query_start < each.end():
                words[word] = min(words.get(word, 1.0), match.similarity)
                if not start <= match.start < end:
                    outside.add(word)
    return Likeness(score, words, frozenset(words) - outside)
