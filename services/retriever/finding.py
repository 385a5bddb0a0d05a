"""The search itself: both sides at once, then one ranking of the two, and what is shown of it."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any, TypeVar

import structlog

from ragline import context
from ragline.errors import Internal, Mismatch, Overloaded, RaglineError, TimedOut, Unavailable
from ragline.v1.passage_pb2 import Statistics
from services.retriever.asking import Embedded, Request, Result
from services.retriever.clock import Clock
from services.retriever.fusion import DENSE_WEIGHT, choose
from services.retriever.joining import NOTHING, bounds, joined
from services.retriever.keeping import Batch, Found
from services.retriever.pair import Pair
from services.retriever.stores import Allowed, Ranking, View

if TYPE_CHECKING:
    from services.retriever.search import Search

AWAY = (Unavailable, TimedOut, Overloaded, Internal)  # of another service: go on without it, and say so
SPARSE_CHUNK = 16  # queries a task: long enough to be worth a thread, short enough to let others in between
DENSE_CHUNK = 64  # queries a matrix product
JOIN_CHUNK = 32  # queries whose rankings become one, or whose passages are fetched, at a time

T = TypeVar("T")
R = TypeVar("R")
Shape = Callable[[Sequence[Found]], list[Result]]

log = structlog.get_logger(__name__)


class Finding:
    """One search for queries of which nothing is kept; ``shape`` makes of what is found what is shown.

    ``results`` are there once the batch is.
    """

    def __init__(
        self, search: Search, request: Request, view: View, queries: Sequence[str], clock: Clock, shape: Shape
    ) -> None:
        self.search = search
        self.request = request
        self.view = view
        self.queries = queries
        self.clock = clock
        self.shape = shape
        self.limit = 0
        self.depth = 0
        self.degraded: list[str] = []
        self.embedded: Embedded | None = None
        self.allowed: Allowed | None = None
        self.results: list[Result] = []

    async def __call__(self) -> Batch:
        """What is found for each query; raises Mismatch, Unavailable, TimedOut."""
        context.remaining_s(1.0)  # raises once nobody waits for the answer
        self.degraded, self.embedded = [], None  # of an earlier try
        if self.request.filter is not None:
            with self.clock.stage("filter"):
                self.allowed = await self.search.compute(self.view.allowed, self.request.filter)
        both = await (self.one() if len(self.queries) == 1 else self.many())
        self.results = [result for _, result in both]
        return Batch([found for found, _ in both], tuple(self.degraded))

    async def one(self) -> list[tuple[Found, Result]]:
        """A single query: each side is a task of the pool, and the one that ends last does the rest."""
        pair = Pair(self)
        if self.request.mode != "dense":
            pair.match()
        if self.request.mode != "sparse":
            await self.embed()
            pair.near()
        found = await pair.done
        for half, error in pair.missing.items():
            self.without(half, error)
        return [found]

    async def many(self) -> list[tuple[Found, Result]]:
        """Many queries: vectors go in large batches; words a few queries at a time, which are then done with.

        So what holds the interpreter (fusing, fetching) runs while other threads are inside the indexes.
        """
        dense = asyncio.create_task(self.dense())
        dense.add_done_callback(seen)
        began = time.perf_counter()

        async def some(part: range) -> list[tuple[Found, Result]]:
            sparse = await self.sparse(part)
            self.clock.ms |= {} if sparse is None else {"sparse": (time.perf_counter() - began) * 1e3}
            near = await dense
            self.check(near, sparse)
            return await self.search.compute(
                self.finished, part, None if near is None else near[part.start : part.stop], sparse
            )

        try:
            return await self.side_by_side(
                [partial(some, part) for part in pieces(range(len(self.queries)), SPARSE_CHUNK)]
            )
        finally:
            dense.cancel()

    def finished(
        self, part: Sequence[int], dense: Sequence[Ranking] | None, sparse: Sequence[Ranking] | None
    ) -> list[tuple[Found, Result]]:
        """Fuse the rankings of some of the queries, one each a side, and shape them (in the pool)."""
        with self.search.turn:
            with self.clock.stage("fuse"):
                found = [
                    self.fused(i, dense[place] if dense else None, sparse[place] if sparse else None)
                    for place, i in enumerate(part)
                ]
            with self.clock.stage("fetch"):
                return list(zip(found, self.shape(found), strict=True))

    def check(self, dense: object | None, sparse: object | None) -> None:
        """Raise Unavailable where neither side could be had."""
        if dense is None and sparse is None:
            raise Unavailable("Neither the embedder nor the sparse index can be used; the log says why.")

    async def embed(self) -> None:
        """Ask for the queries' vectors; without them the search goes on by words, if it may."""
        try:
            with self.clock.stage("embed"):
                embedded = await self.search.embedder.embed(self.queries, self.view.fingerprint)
        except AWAY as error:
            if self.request.mode == "dense":
                raise
            self.without("dense", error)
            return
        if embedded.fingerprint != self.view.fingerprint:
            raise Mismatch(
                f"The collection {self.request.key.collection!r} was filled by the embedder "
                f"{self.view.fingerprint!r}, queries are embedded by {embedded.fingerprint!r}. Start preprocess "
                "with the first one again; to change to the second, set that as PREPROCESS_NEXT_EMBEDDER beside "
                "the first and run `ragline reembed`. Until then search in mode sparse."
            )
        self.embedded = embedded

    async def dense(self) -> list[Ranking] | None:
        """The nearest passages of each query; None where that half is not asked for or cannot be had."""
        if self.request.mode == "sparse":
            return None
        await self.embed()
        if self.embedded is None:
            return None
        with self.clock.stage("dense"):
            return await self.side_by_side(
                [
                    partial(self.search.gathering.dense, self.view, chunk, self.depth, self.allowed)
                    for chunk in pieces(self.embedded.vectors, DENSE_CHUNK)
                ]
            )

    async def sparse(self, part: range) -> list[Ranking] | None:
        """The best matches of the words of some of the queries; None as for ``dense``."""
        if self.request.mode == "dense" or "sparse" in self.degraded:
            return None
        queries = self.queries[part.start : part.stop]
        try:
            return await self.search.compute(matches, self.view, queries, self.depth, self.allowed)
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
        results: list[list[R]] = [[] for _ in calls]
        turns = iter(enumerate(calls))

        async def work() -> None:
            for turn, call in turns:
                context.remaining_s(1.0)  # raises once nobody waits for the answer
                results[turn] = await call()

        tasks = [asyncio.create_task(work()) for _ in range(min(len(calls), self.search.options.threads))]
        try:
            await asyncio.gather(*tasks)
        finally:
            for task in tasks:
                task.cancel()
        return [each for part in results for each in part]

    def fused(self, i: int, dense: Ranking | None, sparse: Ranking | None) -> Found:
        """The best candidates of query ``i``; each has its cosine if there is a query vector."""
        embedded, view = self.embedded, self.view
        cosines = None if embedded is None else partial(view.cosines, embedded.vectors[i])
        both = joined(dense or NOTHING, sparse or NOTHING, cosines)
        mode, method, weight = self.request.mode, "single", None
        if dense is None or sparse is None:
            mode = "sparse" if dense is None else "dense"
        elif mode == "auto":
            choice = choose(dense.scores.tolist(), sparse.scores.tolist(), bounds(both.cosines) or 0.0)
            mode, weight = choice.mode, choice.dense_weight
        if mode == "hybrid":
            method, weight = self.method(weight)
        best, how = both.best(mode, method, DENSE_WEIGHT if weight is None else weight, self.limit)
        return Found(best, self.statistics(i), how)

    def method(self, chosen: float | None) -> tuple[str, float | None]:
        """How two rankings become one, and the weight of the dense side: the request's wish comes first."""
        request = self.request
        weight = chosen if request.dense_weight is None else request.dense_weight
        method = request.fusion or ("weighted" if weight is not None else self.search.options.fusion)
        return method, weight

    def statistics(self, i: int) -> Statistics | None:
        """How common the word pieces of query ``i`` are in the collection."""
        if self.embedded is None:
            return None
        ids = list(self.embedded.token_ids[i])
        counts = self.view.frequencies(ids)
        return Statistics(
            passages=self.view.passages,
            token_ids=ids,
            passage_frequencies=counts,
            fingerprint=self.view.fingerprint,
        )


def matches(view: View, queries: Sequence[str], depth: int, allowed: Allowed | None) -> list[Ranking]:
    """Sparse search of a few queries."""
    return [view.sparse(query, depth, allowed) for query in queries]


def pieces(items: Any, size: int) -> list[Any]:
    """``items`` (a sequence or an array) in runs of at most ``size``."""
    return [items[start : start + size] for start in range(0, len(items), size)]


def seen(task: asyncio.Task[Any]) -> None:
    """Look at how a task ended, so that a failure that nobody waited for is not reported as forgotten."""
    if not task.cancelled():
        task.exception()
