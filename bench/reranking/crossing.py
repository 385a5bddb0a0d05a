"""The cross-encoder beside sentence-transformers' on PyTorch: the same weights, threads and pairs."""

from __future__ import annotations

import asyncio
import statistics
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from bench.report import Row
from bench.reranking import peer
from bench.reranking.scoring import PIECES, QUERY_WORDS, parts
from bench.texts import texts
from ragline import threads
from services.reranker.roster import hook
from services.reranker.scorers import Candidate, Parts
from services.reranker.scorers._open import open_scorer

PAIRS = 20
ROUNDS = 7


def measure(classifier: Path) -> list[Row]:
    """How many times faster than PyTorch, and the greatest difference of a score."""
    if not peer.installed():
        return []
    count = threads.available()
    theirs = peer.scores(classifier, count)
    with parts(classifier, count) as given:
        took, apart = asyncio.run(rounds(given, theirs))
    ratio = statistics.median(other / own for own, other in took)
    own = statistics.median(one for one, _ in took) * 1000
    detail = f"{PAIRS} passages of {PIECES} word pieces in {own:.0f} ms, {count} threads, the same weights"
    return [
        Row("cross-encoder: PyTorch ÷ ours", ratio, "≥ 3", ratio >= 3, detail),
        Row("cross-encoder: greatest difference of a score", apart, "≤ 0.02", apart <= 0.02, "from 0 to 1"),
    ]


async def rounds(
    given: Parts, theirs: Callable[[str, Sequence[str]], list[float]]
) -> tuple[list[tuple[float, float]], float]:
    """Seconds of both in each round, and the greatest difference between their scores."""
    scorer = open_scorer("cross_encoder", given, {"model": "any", "max_tokens": 512})
    await hook(scorer, "start")()
    took, apart = [], 0.0
    for number, query in enumerate(texts(ROUNDS + 1, QUERY_WORDS, seed=800)):
        passages = texts(PAIRS, PIECES, seed=810 + number)
        began = time.perf_counter()
        own = await scorer.score(query, [Candidate(text) for text in passages], None)
        between = time.perf_counter()
        other = await asyncio.to_thread(theirs, query, passages)
        if number:  # the first warms both
            took.append((between - began, time.perf_counter() - between))
        apart = max(apart, *(abs(one - two) for one, two in zip(own, other, strict=True)))
    await hook(scorer, "close")()
    return took, apart
