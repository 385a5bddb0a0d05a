"""The retriever's own search inside a process: its store and its use case, vectors given, no cache."""

from __future__ import annotations

import asyncio
import json
import os
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
from threadpoolctl import threadpool_limits

from bench.retrieval.corpus import Corpus, Vectors
from bench.retrieval.documents import FINGERPRINT, contents, number, pieces
from bench.retrieval.serving import DEPTH, loaded
from ragline import threads
from ragline.errors import Unavailable
from ragline.settings import load
from ragline.v1.passage_pb2 import Statistics
from ragline.v1.reranker_pb2 import Candidate, RerankResponse
from services.retriever import filters
from services.retriever.__main__ import chosen, open_store
from services.retriever.asking import Embedded, Options, Request
from services.retriever.dense import Layered
from services.retriever.search import Search
from services.retriever.settings import Settings
from services.retriever.stores import Key

TOGETHER = 500  # documents that are written side by side
LARGE_TOGETHER = 10  # or so many, where these have more passages than that:
PASSAGES_TOGETHER = 10_000
SETTLED_S = 3600.0
KEY = Key("default", "bench")


@dataclass(frozen=True)
class Given:
    """Stands where preprocess would be asked: the vectors are known, so that search alone is timed."""

    vectors: dict[str, Vectors]

    async def embed(self, texts: Sequence[str], fingerprint: str) -> Embedded:
        """The vectors that were given for these queries."""
        vectors = np.stack([self.vectors[text] for text in texts])
        return Embedded(vectors, FINGERPRINT, [pieces(text).tolist() for text in texts])


class Nobody:
    """No reranker is asked in this measurement."""

    async def rerank(
        self,
        query: str,
        candidates: Sequence[Candidate],
        statistics: Statistics | None,
        scorer: str | None,
        *,
        explain: bool,
    ) -> RerankResponse:
        """Raise: search does not ask unless a request does."""
        raise Unavailable("There is no reranker in this measurement.")


class Service:
    """An ``Engine``: documents go in as preprocess sends them, searches as the doors ask them."""

    def __init__(self, corpus: Corpus, folder: Path) -> None:
        os.environ.setdefault("OMP_WAIT_POLICY", "passive")
        threadpool_limits(limits=1, user_api="blas")
        self.corpus = corpus
        self.settings = load(Settings, data_dir=folder)
        self.store = open_store(self.settings, threads.available())
        self.given = Given(dict(zip(corpus.queries, corpus.query_vectors, strict=True)))
        self.search_with(threads.available())

    def search_with(self, count: int) -> None:
        """Search with so many threads from now on."""
        pool = ThreadPoolExecutor(count)
        options = chosen(Options, self.settings, threads=count)
        self.searching = Search(self.store, self.given, Nobody(), pool, options)

    def build(self) -> None:
        """See ``Engine``; returns once nothing is built in the background any more."""
        asyncio.run(self.fill())
        deadline = time.monotonic() + SETTLED_S
        while self.building():
            if time.monotonic() > deadline:
                raise TimeoutError(f"the dense index is still being built after {SETTLED_S} s")
            time.sleep(0.2)

    def building(self) -> bool:
        """Whether the dense index is not yet what it will be."""
        snapshot: Any = self.store.view(KEY)
        return isinstance(snapshot.index, Layered) and snapshot.index.job(snapshot.live, True) is not None

    def state(self) -> dict[str, Any]:
        """How vectors are searched: the tier, the recall that was measured, how deep a graph is searched."""
        snapshot: Any = self.store.view(KEY)
        if not isinstance(snapshot.index, Layered):
            return {"tier": "exact", "recall": None, "segments": [], "ef": 0}
        told = snapshot.index.state()
        parts = [part for _, part in snapshot.index.parts()]
        return {
            "tier": told.tier,
            "recall": told.recall,
            "segments": [len(part) for part in parts],
            "ef": max((getattr(part, "ef", 0) for part in parts), default=0),
        }

    async def fill(self) -> None:
        """Write everything, a few hundred documents at a time, or as many as have so many passages."""
        documents = contents(self.corpus)
        while part := list(islice(documents, TOGETHER)):
            while part:
                large = sum(len(content.passages) for content in part) > PASSAGES_TOGETHER
                now, part = (part[:LARGE_TOGETHER], part[LARGE_TOGETHER:]) if large else (part, [])
                await asyncio.gather(*(self.store.upsert(KEY, content) for content in now))

    def search(self, query: int, depth: int) -> list[int]:
        """See ``Engine``."""
        return asyncio.run(self.hybrid(query, depth))

    async def hybrid(self, query: int, depth: int = DEPTH, mode: str = "hybrid") -> list[int]:
        """One search."""
        return (await self.found([self.corpus.queries[query]], depth, mode))[0]

    async def found(
        self, queries: Sequence[str], depth: int, mode: str = "hybrid", chosen: dict[str, Any] | None = None
    ) -> list[list[int]]:
        """The numbers of the passages found for each query."""
        allowed = filters.parse(json.dumps(chosen)) if chosen else None
        response = await self.searching(Request(KEY, queries, top_k=depth, mode=mode, filter=allowed))
        return [[number(hit.passage.id) for hit in result.hits] for result in response.results]

    def ask(self, queries: Sequence[int], depth: int = DEPTH, mode: str = "hybrid") -> dict[str, Any]:
        """One after the other, all from one event loop, as the doors do."""

        async def each() -> dict[str, Any]:
            milliseconds, found = [], []
            for query in queries:
                began = time.perf_counter()
                found.append(await self.hybrid(query, depth, mode))
                milliseconds.append((time.perf_counter() - began) * 1000)
            return {"ms": milliseconds, "found": found}

        return asyncio.run(each())

    def load(self, clients: int, seconds: float, queries: int, depth: int = DEPTH) -> dict[str, float]:
        """Clients are tasks of one event loop."""
        milliseconds: list[float] = []

        async def client(number: int, deadline: float) -> None:
            query = number * 7
            while (began := time.perf_counter()) < deadline:
                await self.hybrid(query % queries, depth)
                milliseconds.append((time.perf_counter() - began) * 1000)
                query += 1

        async def all_clients() -> float:
            began = time.perf_counter()
            await asyncio.gather(*(client(n, began + seconds) for n in range(clients)))
            return time.perf_counter() - began

        return loaded(milliseconds, asyncio.run(all_clients()))
