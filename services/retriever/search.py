"""Hybrid search: queries in, ranked passages out, with what each side said of them."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import Executor
from contextlib import AbstractContextManager, nullcontext
from dataclasses import replace
from functools import partial
from typing import Any, TypeVar

import structlog

from ragline.errors import Overloaded
from ragline.spans import embedded_text
from ragline.v1.passage_pb2 import Statistics
from ragline.v1.reranker_pb2 import Candidate
from services.retriever.asking import Embedder, Hit, Options, Request, Reranker, Response, Result
from services.retriever.clock import Clock
from services.retriever.finding import AWAY, DENSE_CHUNK, JOIN_CHUNK, Finding, pieces
from services.retriever.gathering import Gathering
from services.retriever.keeping import Found, Keeping
from services.retriever.shaping import Shaping
from services.retriever.stores import Key, Store, Vectors, View
from services.retriever.waiting import wait

T = TypeVar("T")

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
        # What holds the interpreter is done by one thread at a time: several would only take it from each other.
        self.turn: AbstractContextManager[object] = threading.Lock() if store.local else nullcontext()
        self.inflight = 0

    async def __call__(self, request: Request) -> Response:
        """Find passages; raises NotFound, Mismatch, Overloaded, Unavailable, TimedOut."""
        asked = list(dict.fromkeys(request.queries))
        self.admit(len(asked))
        try:
            with (clock := Clock()).stage("total"):
                view = await self.view(request.key, request.wait_for)
                found = await Run(self, request, asked, view, clock).response()
        finally:
            self.inflight -= len(asked)
        if len(asked) == len(request.queries):
            return found
        by_query = dict(zip(asked, found.results, strict=True))
        return replace(found, results=[by_query[query] for query in request.queries])

    def admit(self, queries: int) -> None:
        """Take the queries in; raises Overloaded where too many are in hand."""
        if self.inflight and self.inflight + queries > self.options.max_inflight_queries:
            raise Overloaded(
                f"{self.inflight} queries are in hand already; the limit is RETRIEVER_MAX_INFLIGHT_QUERIES."
            )
        self.inflight += queries

    async def view(self, key: Key, generation: int = 0) -> View:
        """The collection as it is now, or once it has come to a generation; raises NotFound, TimedOut."""
        if generation:
            return await wait(self.store, key, generation, self.options.max_wait_s)
        return self.store.view(key) if self.store.local else await asyncio.to_thread(self.store.view, key)

    async def compute(self, function: Callable[..., T], *arguments: Any) -> T:
        """The result of ``function``, run in the pool."""
        return await asyncio.get_running_loop().run_in_executor(self.pool, partial(function, *arguments))


class Run:
    """One request, against one view of the collection from beginning to end."""

    def __init__(self, search: Search, request: Request, queries: Sequence[str], view: View, clock: Clock) -> None:
        self.search = search
        self.request = request
        self.queries = queries
        self.view = view
        self.shaping = Shaping(view, request, search.options)
        self.limit = self.shaping.limit
        self.depth = max(search.options.candidates, self.limit)
        self.clock = clock
        self.degraded: list[str] = []
        self.vectors: dict[int, Vectors] = {}

    async def response(self) -> Response:
        """The stages, in order."""
        results = await self.results() if self.view.passages else [Result(()) for _ in self.queries]
        if self.request.rerank and self.view.passages:
            with self.clock.stage("rerank"):
                results = await self.reranked(results)
        wanted = self.request.vectors and self.request.mode != "sparse"
        if wanted and self.view.passages and "dense" not in self.degraded:
            results = await self.with_vectors(results)
        return Response(results, self.view.generation, self.clock.ms, self.degraded)

    async def results(self) -> list[Result]:
        """What was found for each query, now or before, as it is shown or as the reranker is to see it."""
        keeping = self.search.keeping
        keys = keeping.keys(self.view, self.asked(), self.queries)
        found: list[Found | None] = [None] * len(keys)
        if keeping.cache is not None:
            with self.clock.stage("cache"):
                found = await keeping.read(keys)
        missing = [i for i, one in enumerate(found) if one is None]
        results: dict[int, Result] = {}
        if missing:
            queries = [self.queries[i] for i in missing]
            finding = Finding(self.search, self.request, self.view, queries, self.clock, self.shaping)
            finding.limit, finding.depth = self.limit, self.depth
            batch = await keeping.once([keys[i] for i in missing], finding)
            self.degraded = list(batch.degraded)
            if finding.embedded is not None:
                self.vectors = dict(zip(missing, finding.embedded.vectors, strict=True))
            results = dict(zip(missing, finding.results, strict=False))  # none where another search found them
            for i, one in zip(missing, batch.found, strict=True):
                found[i] = one
        return await self.completed([one for one in found if one is not None], results)

    async def completed(self, found: Sequence[Found], results: dict[int, Result]) -> list[Result]:
        """The results in order; what was found before is fetched and shaped now."""
        if known := [i for i in range(len(found)) if i not in results]:
            with self.clock.stage("fetch"):
                for part in pieces(known, JOIN_CHUNK):
                    shaped = await self.search.compute(self.shaping, [found[i] for i in part])
                    results.update(zip(part, shaped, strict=True))
        return [results[i] for i in range(len(found))]

    async def with_vectors(self, results: Sequence[Result]) -> list[Result]:
        """The results with their queries' vectors; without, where the embedder is away.

        What was found before was found without them: preprocess remembers those of queries for a while.
        """
        if missing := [i for i in range(len(results)) if i not in self.vectors]:
            queries = [self.queries[i] for i in missing]
            try:
                with self.clock.stage("embed"):
                    made = await self.search.embedder.embed(queries, self.view.fingerprint)
            except AWAY as error:
                log.warning("search answers without vectors", why=error.detail)
                return list(results)
            self.vectors.update(zip(missing, made.vectors, strict=True))
        return [replace(result, vector=self.vectors[i]) for i, result in enumerate(results)]

    def asked(self) -> dict[str, object]:
        """What is found depends on, beside the query and the state of the collection.

        What is done with it afterwards (repeats, diversity, neighbours) is done anew each time.
        """
        request = self.request
        return {
            "tenant": request.key.tenant,
            "collection": request.key.collection,
            "mode": request.mode,
            "filter": repr(request.filter),
            "limit": self.limit,
            "depth": self.depth,
            "fusion": request.fusion or self.search.options.fusion,
            "dense_weight": request.dense_weight,
        }

    async def reranked(self, results: list[Result]) -> list[Result]:
        """Each result in the reranker's order, or in the fused one where it is away, brought to its last form."""
        ordered = []
        for query, result in zip(self.queries, results, strict=True):
            hits = result.hits
            if hits and "rerank" not in self.degraded:
                hits = await self.scored(query, hits, result.statistics)
            if self.request.diversity or self.request.neighbours:
                hits = await self.search.compute(self.shaping.finished, hits)
            ordered.append(replace(result, hits=hits[: self.request.top_k]))
        return ordered

    async def scored(self, query: str, hits: Sequence[Hit], statistics: Statistics | None) -> Sequence[Hit]:
        """The hits with the reranker's scores and in its order; as they were where no scorer answered."""
        wanted = self.request
        try:
            answer = await self.search.reranker.rerank(
                query, candidates(hits), statistics, wanted.scorer, explain=wanted.explain
            )
        except AWAY as error:
            log.warning("search goes on without a part", part="rerank", why=error.detail)
            self.degraded.append("rerank")
            return hits
        missing = [f"rerank:{name}" for name in answer.degraded] if answer.scorer else ["rerank"]
        self.degraded += [part for part in missing if part not in self.degraded]
        if not answer.scorer:
            return hits
        return [
            replace(hits[each.index], score=each.score, reranked=each, scorer=answer.scorer)
            for each in answer.scores
        ]


def candidates(hits: Sequence[Hit]) -> list[Candidate]:
    """What the reranker reads of each hit: exactly the text that was embedded, and the search's scores."""
    return [
        Candidate(
            text=embedded_text(hit.passage.title, hit.passage.section, hit.passage.text),
            dense_score=hit.fused.dense_score,
            sparse_score=hit.fused.sparse_score,
            fused_score=hit.fused.score,
        )
        for hit in hits
    ]
