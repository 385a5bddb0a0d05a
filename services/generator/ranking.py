"""Orders the passages and their sentences by how well they answer, with the reranker or, without it, by words."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import structlog

from ragline.errors import Internal, InvalidRequest, Overloaded, RaglineError, TimedOut, Unavailable
from ragline.v1 import retriever_pb2
from ragline.v1.reranker_pb2 import Candidate
from services.generator.checks import abstain
from services.generator.checks.evidence import Overlap, Sentence, heading, scored, split
from services.generator.checks.judging import Judge
from services.generator.checks.lookalike import signs
from services.generator.checks.pieces import Pieces, own
from services.generator.checks.questions import following, repeats
from services.generator.clock import Clock
from services.generator.events import Question, Ranked
from services.generator.sources import Scores, Sources

# The reranker's failures that an answer survives; anything else says that the request is wrong.
AWAY = (Unavailable, TimedOut, Overloaded, Internal)
# A question of the text speaks for the sentence behind it where both have this share of the query together.
LEAST_ALIKE = 0.7
NEARLY_ALL = 0.999  # of a sum of fractions

log = structlog.get_logger(__name__)


@dataclass(frozen=True)
class Ranking:
    """The best passages; ``scores`` are the raw ones of the pool, ``scorer`` is empty where none answered.

    ``trial``: a scorer on trial ordered them.
    """

    best: tuple[Ranked, ...]
    scores: tuple[float, ...]
    scorer: str
    degraded: tuple[str, ...]
    trial: bool = False


@dataclass(frozen=True)
class Evidence:
    """The sentences of the best passages, best first, and the chance that they hold an answer."""

    sentences: tuple[Sentence, ...]
    features: abstain.Features
    chance: float
    degraded: tuple[str, ...]
    calibration: abstain.Calibration = abstain.LEXICAL


async def rank(sources: Sources, question: Question, found: retriever_pb2.SearchResult) -> Ranking:
    """The ``top_k`` best of what was found; in the order of the search where the reranker is away.

    Raises InvalidRequest for a scorer that there is not.
    """
    hits = list(found.hits)
    if sources.reranker is None and question.scorer:
        raise InvalidRequest(
            "There is no reranker here (GENERATOR_RERANKER_ADDRESS); leave scorer out.", field="scorer"
        )
    if not hits or sources.reranker is None:
        return searched(hits, (), question.top_k)
    try:
        made = await sources.rerank(
            question.query,
            [candidate(hit) for hit in hits],
            found.statistics,
            question.scorer,
            explain=question.explain,
        )
    except AWAY as error:
        tell(error)
        return searched(hits, ("rerank",), question.top_k)
    if not made.scorer:
        return searched(hits, ("rerank",), question.top_k)
    return reranked(hits, made, question.top_k)


def searched(hits: Sequence[retriever_pb2.Hit], degraded: tuple[str, ...], top_k: int) -> Ranking:
    """The hits in the order of the search, by its scores."""
    best = tuple(Ranked(hit, hit.score, place, hit.score) for place, hit in enumerate(hits[:top_k], 1))
    return Ranking(best, tuple(hit.score for hit in hits), "", degraded)


def reranked(hits: Sequence[retriever_pb2.Hit], made: Scores, top_k: int) -> Ranking:
    """The hits in the reranker's order."""
    raw = tuple(entry.raw for entry in made.entries)
    best = tuple(
        Ranked(hits[place], made.entries[place].score, place + 1, raw[place], tuple(made.entries[place].matches))
        for place in made.order[:top_k]
    )
    return Ranking(best, raw, made.scorer, tuple(f"rerank:{name}" for name in made.failed), made.trial)


def candidate(hit: retriever_pb2.Hit) -> Candidate:
    """A hit as the reranker takes it: the text that was embedded, without neighbours, and the search's scores."""
    begin, end = own(hit)
    made = Candidate(text=heading(hit.passage, hit.passage.text[begin:end]))
    if hit.HasField("dense_score"):
        made.dense_score = hit.dense_score
    if hit.HasField("sparse_score"):
        made.sparse_score = hit.sparse_score
    made.fused_score = hit.score
    return made


async def evidence(
    sources: Sources, query: str, found: retriever_pb2.SearchResult, ranked: Ranking, limit: int, clock: Clock
) -> Evidence:
    """The sentences of the best passages, scored as pieces of these by the scorer of the passages.

    Only the ``limit`` that look best by their words and their passages are, which loses next to nothing; the
    others come after them. The ``clock`` tells the reranker's part, ``evidence``, from our own, ``sentences``.
    """
    with clock.stage("sentences"):
        likely, by_words = sentences(query, found, ranked)
    if not ranked.scorer or not likely:
        return judged(query, by_words, "", ranked, by_words)
    first = likely[:limit]
    pieces = Pieces(first, ranked.best)
    try:
        with clock.stage("evidence"):
            made = await sources.rerank(query, pieces.candidates, found.statistics, ranked.scorer)
    except (*AWAY, InvalidRequest) as error:  # also where the scorer has gone meanwhile
        tell(error)
        return judged(query, by_words, "", replace(ranked, degraded=(*ranked.degraded, "rerank")), by_words)
    degraded = tuple(dict.fromkeys((*ranked.degraded, *(f"rerank:{name}" for name in made.failed))))
    scores = pieces.scores(made)
    if scores is None or made.scorer != ranked.scorer:  # those of another scorer are not to be added to its own
        return judged(query, by_words, "", replace(ranked, degraded=degraded or ("rerank",)), by_words)
    ordered = scored(first, scores, [each.raw for each in ranked.best])
    calibrated = made.scorer in abstain.CALIBRATIONS
    return judged(
        query,
        [*ordered, *likely[limit:]],
        made.scorer,
        replace(ranked, degraded=degraded),
        ordered if calibrated else by_words,
    )


def sentences(
    query: str, found: retriever_pb2.SearchResult, ranked: Ranking
) -> tuple[list[Sentence], list[Sentence]]:
    """The sentences, likeliest first by words and passages' scores, and the same by words alone."""
    passages = [each.passage for each in ranked.best]
    overlap = Overlap(query, (hit.passage.text for hit in found.hits))
    heads = [f"{passage.title} {passage.section}" for passage in passages]
    pieces, shares = [], []
    for each in following(split(passages)):
        head, text = heads[each.passage], passages[each.passage].text
        share = overlap.share(head, text[each.begin : each.end])
        if share > NEARLY_ALL and repeats(query, each.text):  # which no text without all the words can
            continue
        alike = each.question is None or share >= LEAST_ALIKE
        pieces.append(each if alike else replace(each, question=None))
        shares.append(share if alike else overlap.share(head, each.text))
    wholes = [overlap.share(head, passage.text) for head, passage in zip(heads, passages, strict=True)]
    by_words = scored(pieces, shares, wholes)
    if ranked.scorer not in abstain.CALIBRATIONS:
        return by_words, by_words
    return scored(pieces, shares, [each.raw for each in ranked.best], 1.0), by_words


def judged(
    query: str, found: Sequence[Sentence], scorer: str, ranked: Ranking, looked: Sequence[Sentence]
) -> Evidence:
    """The evidence with its chance: from the scorer's scores where they are calibrated, else from the words.

    ``looked`` are the sentences with the scores that the chance is computed from.
    """
    calibration = abstain.CALIBRATIONS.get(scorer, abstain.LEXICAL)
    best = max((each.own for each in looked if each.answers), default=0.0)
    asked = signs(query, looked, [each.passage for each in ranked.best])
    features = abstain.Features(best, abstain.gap(ranked.scores), asked)
    chance = calibration.chance(features) if found else 0.0
    return Evidence(tuple(found), features, chance, ranked.degraded, calibration)


def judge(sources: Sources, ranked: Ranking, found: retriever_pb2.SearchResult) -> Judge | None:
    """Who is asked about claims that words do not settle; None where nothing is known of what its scores mean."""
    if ranked.scorer not in abstain.CALIBRATIONS:
        return None
    return Judge(sources, ranked.best, found.statistics, ranked.scorer)


def tell(error: RaglineError) -> None:
    """The log says why an answer was made without the reranker."""
    log.warning("going on without the reranker", reason=error.detail)
