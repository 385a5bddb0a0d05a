"""One core: 50 passages by their kept token vectors, and by PyTorch's cross-encoder in the same rounds."""

from __future__ import annotations

import asyncio
import statistics
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path

from threadpoolctl import threadpool_limits

import ragline.cache
from bench.embed import timed
from bench.report import Row
from bench.reranking import peer
from bench.texts import texts
from ragline.token_vectors import PackedTokens, QueryTokens
from services.reranker.pool import Pool
from services.reranker.scorers import Candidate, Parts
from services.reranker.scorers._open import open_scorer
from services.reranker.scorers.late_interaction import LateInteraction, combined

PASSAGES = 50
PIECES = 195  # as 150 words of English are; of the vocabulary here each word is one
QUERY_WORDS = 12
ROUNDS = 5
REPEATS = 40


@contextmanager
def parts(model: Path, threads: int) -> Iterator[Parts]:
    """What a scorer is handed, with a cache in memory."""
    pool = Pool(threads, max_waiting=64)
    cache = ragline.cache.open("memory://?max_mb=512")
    yield Parts(lambda _: model, cache, pool, threads, max_batch_tokens=8192, max_queue_tokens=262_144)
    pool.close()


def measure(model: Path, classifier: Path) -> list[Row]:
    """Milliseconds of the arithmetic, how many times PyTorch's cross-encoder takes, and bytes a passage."""
    passages = texts(PASSAGES, PIECES, seed=3)
    queries = texts(ROUNDS, QUERY_WORDS, seed=4)
    candidates = [Candidate(text, 0.5 - n / 200, 20.0 - n / 10) for n, text in enumerate(passages)]
    slow = peer.scores(classifier, 1) if peer.installed() else None
    own, theirs = [], []
    with parts(model, 1) as given, threadpool_limits(1):
        scorer = open_scorer("late_interaction", given, {})
        assert isinstance(scorer, LateInteraction)
        fetched, kept_bytes = asyncio.run(fetch(scorer, queries, passages))
        for query, (asked, kept) in zip(queries, fetched, strict=True):
            once = partial(combined, asked, kept, candidates, None, scorer.hybrid)
            once()
            own.append(statistics.median(timed(once) for _ in range(REPEATS)))
            if slow is not None:
                theirs.append(timed(partial(slow, query, passages)))
    ms = statistics.median(own)
    words = f"{PASSAGES} passages of {PIECES} word pieces, token vectors kept, one core"
    rows = [
        Row("rerank: ms of scoring", ms, "≤ 1.5", ms <= 1.5, words),
        Row(
            "rerank: KB kept a passage",
            kept_bytes / PASSAGES / 1000,
            "",
            None,
            f"{PIECES} word pieces, 150 words of English",
        ),
    ]
    if not theirs:
        return rows
    ratio = statistics.median(theirs) / ms
    detail = f"{statistics.median(theirs):.0f} ms by sentence-transformers' CrossEncoder of MiniLM-L6's size"
    return [*rows, Row("rerank: PyTorch's cross-encoder ÷ ours", ratio, "≥ 500", ratio >= 500, detail)]


async def fetch(
    scorer: LateInteraction, queries: list[str], passages: list[str]
) -> tuple[list[tuple[QueryTokens, list[PackedTokens]]], int]:
    """Each query's token vectors with the passages', and the passages' bytes."""
    await scorer.start()
    fetched = [await scorer.vectors.both(query, passages) for query in queries]
    await scorer.close()
    return fetched, sum(packed.codes.nbytes for packed in fetched[0][1])
