"""Hybrid search: queries in, ranked passages out, with what each side said of them."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Coroutine, Sequence
from concurrent.futures import Executor
from functools import partial
from typing import Any, TypeVar

import numpy as np
import structlog

from ragline import context
from ragline.errors import Internal, Mismatch, Overloaded, RaglineError, TimedOut, Unavailable
from ragline.spans import embedded_text
from ragline.v1.passage_pb2 import Statistics
from ragline.v1.reranker_pb2 import Candidate
from services.retriever.asking import Embedded, Embedder, Hit, Options, Request, Reranker, Response, Result
from services.retriever.clock import Clock
from services.retriever.fusion import Fused, fuse
from services.retriever.gathering import Gathering
from services.retriever.keeping import Batch, Found, Keeping
from services.retriever.stores import Allowed, Ranking, Store, View

AWAY = (Unavailable, TimedOut, Overloaded, Internal)  # of another service: go on without it, and say so
SPARSE_CHUNK = 16  # queries a task: long enough to be worth a thread, short enough to let others in between
DENSE_CHUNK = 64  # queries a matrix product
JOIN_CHUNK = 32  # queries whose rankings become one, or whose passages are fetched, at a time

T = TypeVar("T")
R = TypeVar("R")

log = structlog.get_logger(__name__)


class Search:
    """The use case; ``pool`` runs what computes, so that the event loop only waits."""

    def __init__(
        self,
        store: Store,
        embedder: Embedder,
        reranker: Reranker,
        pool: Executor,
        options: Options,
        keeping: Keeping | None = None,
    ) -> None:
        self.store = store
        self.embedder = embedder
        self.reranker = reranker
        self.pool = pool
        self.options = options
        self.keeping = keeping or Keeping(None, 0)
        # Half of the threads: scans are bound by memory, and words are looked up meanwhile.
        self.gathering = Gathering(pool, max(1, options.threads // 2), DENSE_CHUNK)
        self.inflight = 0

    async def __call__(self, request: Request) -> Response:
        """Find passages; raises NotFound, Mismatch, Overloaded, Unavailable, TimedOut."""
        asked = list(dict.fromkeys(request.queries))
        self.admit(len(asked))
        try:
            found = await Run(self, request, asked).response()
        finally:
            self.inflight -= len(asked)
        by_query = dict(zip(asked, found.results, strict=True))
        return Response(
            [by_query[query] for query in request.queries], found.generation, found.timings_ms, found.degraded
        )

    def admit(self, queries: int) -> None:
        """Take the queries in; raises Overloaded where too many are in hand."""
        if self.inflight and self.inflight + queries > self.options.max_inflight_queries:
            raise Overloaded(
                f"{self.inflight} queries are in hand already; the limit is RETRIEVER_MAX_INFLIGHT_QUERIES."
            )
        self.inflight += queries

    async def compute(self, function: Callable[..., T], *arguments: Any) -> T:
        """The result of ``function``, run in the pool."""
        return await asyncio.get_running_loop().run_in_executor(self.pool, partial(function, *arguments))


class Run:
    """One request, against one view of the collection from beginning to end."""

    def __init__(self, search: Search, request: Request, queries: Sequence[str]) -> None:
        self.search = search
        self.options = search.options
        self.request = request
        self.queries = queries
        self.view: View = search.store.view(request.key)
        self.limit = max(request.top_k, self.options.rerank_pool if request.rerank else 0)
        self.depth = max(self.options.candidates, self.limit)
        self.unknown: Sequence[str] = ()  # the queries that have to be searched for
        self.clock = Clock()
        self.degraded: list[str] = []
        self.embedded: Embedded | None = None

    async def response(self) -> Response:
        """The stages, in order."""
        with self.clock.stage("total"):
            results = await self.results() if self.view.passages else [Result(()) for _ in self.queries]
        return Response(results, self.view.generation, self.clock.ms, self.degraded)

    async def results(self) -> list[Result]:
        """What was found for each query, now or before."""
        keeping = self.search.keeping
        keys = keeping.keys(self.view, self.asked(), self.queries)
        found: list[Found | None] = [None] * len(keys)
        if keeping.cache is not None:
            with self.clock.stage("cache"):
                found = await keeping.read(keys)
        missing = [i for i, one in enumerate(found) if one is None]
        if missing:
            self.unknown = [self.queries[i] for i in missing]
            batch = await keeping.once([keys[i] for i in missing], self.searched)
            self.degraded = list(batch.degraded)
            for i, one in zip(missing, batch.found, strict=True):
                found[i] = one
        known = [one for one in found if one is not None]
        with self.clock.stage("fetch"):
            results = await self.side_by_side(
                [partial(self.search.compute, self.fetched, part) for part in pieces(known, JOIN_CHUNK)]
            )
        if self.request.rerank:
            with self.clock.stage("rerank"):
                results = await self.reranked(results)
        return results

    def asked(self) -> dict[str, object]:
        """What the result depends on beside the query and the state of the collection."""
        request = self.request
        return {
            "tenant": request.key.tenant,
            "collection": request.key.collection,
            "mode": request.mode,
            "filter": repr(request.filter),
            "limit": self.limit,
            "depth": self.depth,
            "fusion": self.options.fusion,
        }

    async def searched(self) -> Batch:
        """The search itself, for the queries of which nothing is kept."""
        allowed = None
        if self.request.filter is not None:
            with self.clock.stage("filter"):
                allowed = await self.search.compute(self.view.allowed, self.request.filter)
        dense, sparse = await together(self.dense(allowed), self.sparse(allowed))
        if self.request.mode == "hybrid" and dense is None and sparse is None:
            raise Unavailable("Neither the embedder nor the sparse index can be used; the log says why.")
        with self.clock.stage("fuse"):
            found = await self.side_by_side(
                [
                    partial(self.search.compute, self.joined, part, dense, sparse)
                    for part in pieces(range(len(self.unknown)), JOIN_CHUNK)
                ]
            )
        return Batch(found, tuple(self.degraded))

    async def dense(self, allowed: Allowed | None) -> list[Ranking] | None:
        """The nearest passages of each query; None where that half is not asked for or cannot be had."""
        if self.request.mode == "sparse":
            return None
        try:
            with self.clock.stage("embed"):
                embedded = await self.search.embedder.embed(self.unknown)
        except AWAY as error:
            if self.request.mode == "dense":
                raise
            self.without("dense", error)
            return None
        if embedded.fingerprint != self.view.fingerprint:
            raise Mismatch(
                f"The collection {self.request.key.collection!r} was filled by the embedder "
                f"{self.view.fingerprint!r}, queries are embedded by {embedded.fingerprint!r}; start preprocess "
                "with the first one, search in mode sparse, or ingest the documents again into another collection."
            )
        self.embedded = embedded
        with self.clock.stage("dense"):
            gathering = self.search.gathering
            return await self.side_by_side(
                [
                    partial(gathering.dense, self.view, chunk, self.depth, allowed)
                    for chunk in pieces(embedded.vectors, DENSE_CHUNK)
                ]
            )

    async def sparse(self, allowed: Allowed | None) -> list[Ranking] | None:
        """The best matches of each query's words; None as for ``dense``."""
        if self.request.mode == "dense":
            return None
        try:
            with self.clock.stage("sparse"):
                return await self.side_by_side(
                    [
                        partial(self.search.compute, matches, self.view, chunk, self.depth, allowed)
                        for chunk in pieces(self.unknown, SPARSE_CHUNK)
                    ]
                )
        except Unavailable as error:
            if self.request.mode == "sparse":
                raise
            self.without("sparse", error)
            return None

    def without(self, half: str, error: RaglineError) -> None:
        """Note that the answer is made without this part."""
        log.warning("search goes on without a part", part=half, why=error.detail)
        if half not in self.degraded:
            self.degraded.append(half)

    async def side_by_side(self, calls: Sequence[Callable[[], Awaitable[list[R]]]]) -> list[R]:
        """The results of all calls in order, a few at a time, so that a large batch lets others through."""
        results: list[R] = []
        for wave in pieces(calls, self.options.threads):
            context.remaining_s(1.0)  # raises once nobody waits for the answer
            for part in await asyncio.gather(*(call() for call in wave)):
                results += part
        return results

    def joined(self, part: range, dense: list[Ranking] | None, sparse: list[Ranking] | None) -> list[Found]:
        """Fuse the rankings of some of the queries (in the pool)."""
        method = "single" if dense is None or sparse is None else self.options.fusion
        return [
            Found(
                self.fused(method, i, dense[i] if dense else None, sparse[i] if sparse else None),
                self.statistics(i),
            )
            for i in part
        ]

    def fused(self, method: str, i: int, dense: Ranking | None, sparse: Ranking | None) -> list[Fused]:
        """The best candidates of query ``i``; each has its cosine if there is a query vector."""
        near, matching = scored(dense), scored(sparse)
        cosines = dict(near)
        if self.embedded is not None and (missing := [row for row, _ in matching if row not in cosines]):
            values = self.view.cosines(self.embedded.vectors[i], np.array(missing, dtype=np.int64))
            cosines.update(zip(missing, values.tolist(), strict=True))
        return fuse(method, near, matching, cosines, self.limit)

    def fetched(self, found: Sequence[Found]) -> list[Result]:
        """The best candidates' passages, as many as the next stage needs (in the pool)."""
        results = []
        for each in found:
            passages = self.view.fetch([one.id for one in each.fused])
            hits = [Hit(passages[one.id], one.score, one) for one in each.fused if one.id in passages]
            results.append(Result(hits, each.statistics))
        return results

    def statistics(self, i: int) -> Statistics | None:
        """How common the word pieces of query ``i`` are in the collection."""
        if self.embedded is None:
            return None
        ids = list(self.embedded.token_ids[i])
        counts = self.view.frequencies(ids)
        return Statistics(passages=self.view.passages, token_ids=ids, passage_frequencies=counts)

    async def reranked(self, results: list[Result]) -> list[Result]:
        """Each result in the reranker's order, or cut to length in the fused one where it is away."""
        top_k = self.request.top_k
        ordered = []
        for query, result in zip(self.queries, results, strict=True):
            hits = result.hits
            if hits and "rerank" not in self.degraded:
                try:
                    scores = await self.search.reranker.rerank(query, candidates(hits), result.statistics)
                    hits = [Hit(hits[i].passage, score, hits[i].fused, score) for i, score in scores]
                except AWAY as error:
                    self.without("rerank", error)
            ordered.append(Result(hits[:top_k], result.statistics))
        return ordered


def matches(view: View, queries: Sequence[str], depth: int, allowed: Allowed | None) -> list[Ranking]:
    """Sparse search of a few queries."""
    return [view.sparse(query, depth, allowed) for query in queries]


def candidates(hits: Sequence[Hit]) -> list[Candidate]:
    """What the reranker reads of each hit: exactly the text that was embedded, and both scores."""
    return [
        Candidate(
            text=embedded_text(hit.passage.title, hit.passage.section, hit.passage.text),
            dense_score=hit.fused.dense_score,
            sparse_score=hit.fused.sparse_score,
        )
        for hit in hits
    ]


def scored(ranking: Ranking | None) -> list[tuple[int, float]]:
    """A ranking as pairs."""
    return [] if ranking is None else list(zip(ranking.rows.tolist(), ranking.scores.tolist(), strict=True))


def pieces(items: Any, size: int) -> list[Any]:
    """``items`` (a sequence or an array) in runs of at most ``size``."""
    return [items[start : start + size] for start in range(0, len(items), size)]


async def together(first: Coroutine[Any, Any, T], second: Coroutine[Any, Any, R]) -> tuple[T, R]:
    """Both results; when one fails the other is cancelled, not left behind."""
    tasks: tuple[asyncio.Task[T], asyncio.Task[R]] = asyncio.create_task(first), asyncio.create_task(second)
    try:
        both: Awaitable[tuple[T, R]] = asyncio.gather(*tasks)
        return await both
    finally:
        for task in tasks:
            task.cancel()
