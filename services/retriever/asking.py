"""What is asked of a search and what it answers: plain values, and whom else it asks."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from ragline.v1.passage_pb2 import Passage, Statistics
from ragline.v1.reranker_pb2 import Candidate
from services.retriever.filters import Filter
from services.retriever.fusion import Fused
from services.retriever.stores import Key, Vectors


@dataclass(frozen=True)
class Request:
    """What is asked: 1 to many queries against one collection. ``mode`` is hybrid, dense or sparse."""

    key: Key
    queries: Sequence[str]
    top_k: int
    mode: str = "hybrid"
    filter: Filter | None = None
    rerank: bool = False


@dataclass(frozen=True)
class Hit:
    """A passage found; ``score`` orders the list: the reranker's if it was asked, else the fused one."""

    passage: Passage
    score: float
    fused: Fused
    rerank_score: float | None = None


@dataclass(frozen=True)
class Result:
    """One query's passages, best first; ``statistics`` are absent where the query was not embedded."""

    hits: Sequence[Hit]
    statistics: Statistics | None = None


@dataclass(frozen=True)
class Response:
    """One result a query, in order; ``timings_ms`` by stage; ``degraded`` names what could not be used."""

    results: Sequence[Result]
    generation: int
    timings_ms: dict[str, float]
    degraded: list[str]


@dataclass(frozen=True)
class Embedded:
    """Queries as vectors (n, dimensions), the embedder's fingerprint, and the word pieces of each query."""

    vectors: Vectors
    fingerprint: str
    token_ids: Sequence[Sequence[int]]


class Embedder(Protocol):
    """Makes vectors of queries."""

    async def embed(self, texts: Sequence[str]) -> Embedded:
        """One vector a text; raises what the other side raised."""
        ...


class Reranker(Protocol):
    """Scores candidates again."""

    async def rerank(
        self, query: str, candidates: Sequence[Candidate], statistics: Statistics | None
    ) -> list[tuple[int, float]]:
        """Index and score of the candidates, best first; raises what the other side raised."""
        ...


@dataclass(frozen=True)
class Options:
    """How to search; see the settings of the same names."""

    fusion: str = "weighted"
    candidates: int = 100
    rerank_pool: int = 50
    max_inflight_queries: int = 4000
    threads: int = 1
