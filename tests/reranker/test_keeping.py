"""Scores are kept by all that they depend on, and only by that."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pytest

import ragline.cache
from services.reranker.keeping import Scores
from services.reranker.rerank import Limits, Ranking, Reranker
from services.reranker.scorers import Candidate, Parts, Scorer, Statistics, cross_encoder, late_interaction
from tests.reranker.rosters import roster
from tests.servers.redis import RedisServer

CANDIDATES = [Candidate(f"passage number {n} " * 4, 0.5 - n / 100, 3.0 - n / 10) for n in range(8)]
STATISTICS = Statistics(100, {7: 3, 9: 40})


class Counting:
    """Scores by length, and says what it was asked."""

    name = "counting"

    def __init__(self, fingerprint: str = "one", *, pairwise: bool = False) -> None:
        self.fingerprint = fingerprint
        self.pairwise = pairwise
        self.asked: list[list[str]] = []

    async def score(
        self, query: str, passages: Sequence[Candidate], statistics: Statistics | None
    ) -> Sequence[float]:
        self.asked.append([each.text for each in passages])
        return [len(query) / (1 + len(each.text)) + (each.dense_score or 0) for each in passages]


def reranker(scorer: Scorer, kept: Scores) -> Reranker:
    return Reranker(roster({scorer.name: scorer}), Limits(), kept)


@pytest.fixture
def kept() -> Scores:
    return Scores(ragline.cache.open("memory://?max_mb=1"), 60)


async def test_the_same_request_is_scored_once(kept: Scores) -> None:
    scorer = Counting()
    first = await reranker(scorer, kept).rerank("query", CANDIDATES, statistics=STATISTICS)
    again = await reranker(scorer, kept).rerank("query", CANDIDATES, statistics=STATISTICS, top_n=3)
    assert len(scorer.asked) == 1
    assert again.scores == first.scores[:3]


@pytest.mark.parametrize(
    "change", ["query", "text", "dense", "sparse", "fused", "order", "statistics", "encoder", "none", "scorer"]
)
async def test_whatever_else_is_asked_is_scored(kept: Scores, change: str) -> None:
    scorer = Counting()
    await reranker(scorer, kept).rerank("query", CANDIDATES, statistics=STATISTICS)
    query, candidates = "query", list(CANDIDATES)
    statistics: Statistics | None = STATISTICS
    if change == "query":
        query = "query "
    elif change == "text":
        candidates[3] = replace(candidates[3], text="another")
    elif change == "dense":
        candidates[3] = replace(candidates[3], dense_score=None)
    elif change == "sparse":
        candidates[3] = replace(candidates[3], sparse_score=9.0)
    elif change == "fused":
        candidates[3] = replace(candidates[3], fused=0.5)
    elif change == "order":
        candidates.reverse()
    elif change == "statistics":
        statistics = Statistics(100, {7: 3, 9: 41})
    elif change == "encoder":
        statistics = replace(STATISTICS, fingerprint="another")
    elif change == "none":
        statistics = None
    else:
        scorer = Counting("other")
    scorer.asked.clear()
    found = await reranker(scorer, kept).rerank(query, candidates, statistics=statistics)
    assert len(scorer.asked) == 1
    plain = await reranker(Counting(), Scores(None, 0)).rerank(query, candidates, statistics=statistics)
    assert found.scores == plain.scores


@pytest.mark.parametrize("pairwise", [False, True])
async def test_spans_change_nothing_of_what_is_kept(kept: Scores, pairwise: bool) -> None:
    scorer, asked = Counting(pairwise=pairwise), [replace(CANDIDATES[0], spans=[(0, 7), (8, 14)])]
    first = await reranker(scorer, kept).rerank("query", CANDIDATES[:1], statistics=STATISTICS)
    with_spans = await reranker(scorer, kept).rerank("query", asked, statistics=STATISTICS)
    again = await reranker(scorer, kept).rerank("query", asked, statistics=STATISTICS)
    assert scorer.asked == [[CANDIDATES[0].text], ["passage", "number"]]
    assert (with_spans.scores[0].raw, again) == (first.scores[0].raw, with_spans)
    assert with_spans.scores[0].spans == [5 / 8, 5 / 7]


async def test_texts_are_told_apart_wherever_they_are_divided(kept: Scores) -> None:
    scorer = Counting()
    for texts in (("ab", "c"), ("a", "bc")):
        await reranker(scorer, kept).rerank("query", [Candidate(text) for text in texts])
    assert len(scorer.asked) == 2


@pytest.mark.parametrize("pairwise", [False, True])
async def test_no_text_is_too_odd_to_be_kept(kept: Scores, pairwise: bool) -> None:
    scorer = Counting(pairwise=pairwise)
    for _ in range(2):
        await reranker(scorer, kept).rerank("\ud800 \0", [Candidate("\udfff"), Candidate("")])
    assert len(scorer.asked) == 1


async def test_only_new_pairs_are_scored_where_each_counts_for_itself(kept: Scores) -> None:
    scorer = Counting(pairwise=True)
    plain = [Candidate(each.text) for each in CANDIDATES]
    await reranker(scorer, kept).rerank("query", plain[:5])
    found = await reranker(scorer, kept).rerank("query", [*plain[3:], plain[3]])
    assert scorer.asked == [[each.text for each in plain[:5]], [each.text for each in plain[5:]]]
    expected = await reranker(Counting(), Scores(None, 0)).rerank("query", [*plain[3:], plain[3]])
    assert found.scores == expected.scores


async def test_a_scorer_that_has_no_fingerprint_is_always_asked(kept: Scores) -> None:
    scorer = Counting("")
    for _ in range(2):
        await reranker(scorer, kept).rerank("query", CANDIDATES)
    assert len(scorer.asked) == 2


async def started(scorer: Scorer, kept: Scores, times: int) -> list[Ranking]:
    """The rankings of a scorer that has a worker."""
    await scorer.start()  # type: ignore[attr-defined]
    try:
        made = reranker(scorer, kept)
        return [await made.rerank("which passage", CANDIDATES, statistics=STATISTICS) for _ in range(times)]
    finally:
        await scorer.close()  # type: ignore[attr-defined]


async def test_a_cross_encoder_is_kept_pair_by_pair_in_redis(
    parts: Parts, classifier: Path, redis_server: RedisServer, tmp_path: Path
) -> None:
    cache = ragline.cache.open(f"{redis_server.url}?prefix={tmp_path.name}:&timeout_s=10")
    scorer = cross_encoder.load(parts, model=str(classifier))
    [first, again] = await started(scorer, Scores(cache, 60), 2)
    assert again == first
    assert (
        cross_encoder.load(parts, model=str(classifier), activation="identity").fingerprint != scorer.fingerprint
    )
    keys = redis_server.say("KEYS", f"{tmp_path.name}:*").split()
    assert len(keys) == len(CANDIDATES)
    await cache.close()


@pytest.mark.models
async def test_late_interaction_is_kept_by_the_request(parts: Parts, minilm: Path, kept: Scores) -> None:
    scorer = late_interaction.load(parts)
    [first, again] = await started(scorer, kept, 2)
    assert again == first
    [fresh] = await started(late_interaction.load(parts), Scores(None, 0), 1)
    assert fresh == first
    assert late_interaction.load(parts, hybrid=0.2).fingerprint != scorer.fingerprint
