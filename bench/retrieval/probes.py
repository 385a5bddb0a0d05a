"""What only the service is asked: visibility of writes, filters, threads, a thousand queries at once."""

from __future__ import annotations

import asyncio
import statistics
import time
from collections.abc import Sequence
from typing import Any

import numpy as np

from bench.retrieval.corpus import nearest
from bench.retrieval.documents import allowed, content
from bench.retrieval.mixing import unit
from bench.retrieval.service import KEY, Service

WRITES = 30
SHARES = (0.001, 0.01, 0.1)
AT_ONCE = 1000
FIRST = 1 << 40  # number of the first passage that is written beside the corpus


class Probed(Service):
    """The service with more to ask of it."""

    def visible(self) -> dict[str, float]:
        """Milliseconds from a write, and from a delete, until a search that starts after it has answered.

        ``found`` and ``gone`` are the shares of first searches that knew already.
        """
        return asyncio.run(self.written_and_deleted())

    async def written_and_deleted(self) -> dict[str, float]:
        """Write, search, delete, search: one document after the other."""
        seen: dict[str, list[float]] = {
            name: [] for name in ("write", "found_ms", "found", "delete", "gone_ms", "gone")
        }
        dice = np.random.default_rng(5)
        for n in range(WRITES):
            vector = unit(dice.standard_normal((1, self.corpus.vectors.shape[1])).astype(np.float32))[0]
            query = f"newword{n}"
            self.given.vectors[query] = vector
            number = FIRST + n
            began = time.perf_counter()
            await self.store.upsert(
                KEY, content(number, "", [f"A passage that says {query}."], vector[None], number)
            )
            seen["write"].append((time.perf_counter() - began) * 1000)
            seen["found"].append(number == (await self.found([query], 1))[0][0])
            seen["found_ms"].append((time.perf_counter() - began) * 1000)
            began = time.perf_counter()
            await self.store.delete(KEY, f"p{number}")
            seen["delete"].append((time.perf_counter() - began) * 1000)
            seen["gone"].append(number not in (await self.found([query], 10))[0])
            seen["gone_ms"].append((time.perf_counter() - began) * 1000)
        shares = {name: statistics.fmean(seen[name]) for name in ("found", "gone")}
        return {name: statistics.median(times) for name, times in seen.items()} | shares

    def filtered(self, queries: int) -> list[dict[str, Any]]:
        """Of each share: whether there were always ten, and recall at 10 of dense search against an exact scan."""
        return [self.filtered_by(round(share * len(self.corpus.vectors)), queries) for share in SHARES]

    def filtered_by(self, below: int, queries: int) -> dict[str, Any]:
        """The same of one filter; ``outside`` counts results that it should have kept out."""
        known = allowed(self.corpus, below)
        exact = nearest(self.corpus.vectors, self.corpus.query_vectors[:queries], 10, known).tolist()
        chosen = {"place": {"$lt": below}}
        near, hybrid, times = [], [], []
        for query in self.corpus.queries[:queries]:
            near.append(asyncio.run(self.found([query], 10, "dense", chosen))[0])
            began = time.perf_counter()
            hybrid.append(asyncio.run(self.found([query], 10, "hybrid", chosen))[0])
            times.append((time.perf_counter() - began) * 1000)
        inside = set(known.tolist())
        return {
            "passages": len(known),
            "fewest": min(map(len, near + hybrid)),
            "outside": sum(not inside.issuperset(found) for found in near + hybrid),
            "recall": statistics.fmean(shared(*pair) for pair in zip(near, exact, strict=True)),
            "p50": statistics.median(times),
        }

    def with_threads(self, count: int, clients: int, seconds: float, queries: int) -> float:
        """Queries a second of the search with so many threads."""
        self.search_with(count)
        return self.load(clients, seconds, queries)["per_second"]

    def batch(self) -> float:
        """Seconds of one call with a thousand distinct queries."""
        names = []
        for n in range(AT_ONCE):
            query = self.corpus.queries[n % len(self.corpus.queries)]
            at = n // len(self.corpus.queries)
            name = f"{query} {'?' * at}" if at else query  # equal ones would be searched for once
            self.given.vectors[name] = self.given.vectors[query]
            names.append(name)
        began = time.perf_counter()
        asyncio.run(self.found(names, 10))
        return time.perf_counter() - began

    def close(self) -> None:
        """Let go of the folder, so that a retriever of its own may open it."""
        self.store.close()


def shared(found: Sequence[int], exact: Sequence[int]) -> float:
    """The share of ``exact`` that was found."""
    return len(set(found) & set(exact)) / len(exact)
