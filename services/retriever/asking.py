"""What is asked of a search and what it answers: plain values, and whom else it asks."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple, Protocol

from ragline.v1.passage_pb2 import Passage, Statistics
from ragline.v1.reranker_pb2 import Candidate, RerankResponse, RerankScore
from services.retriever.filters import Filter
from services.retriever.fusion import Fused
from services.retriever.stores import Key, Vectors


@dataclass(frozen=True)
class Request:
    """What is asked: 1 to many queries against one collection.

    ``mode`` is hybrid, dense, sparse or auto; ``fusion`` (weighted or rrf) and ``dense_weight`` (0 to 1) are the
    settings' where None. ``diversity`` is 0 (the best first) to 1 (as unlike each other as can be),
    ``neighbours`` the passages before and after each hit to widen it with; ``collapse`` shows one of those that
    say nearly the same. ``wait_for`` is a generation: no earlier one is searched. ``scorer`` is one of those that
    the reranker has loaded, its default where None; ``explain`` asks it which words of each passage match.
    ``vectors`` asks for the queries' vectors.
    """

    key: Key
    queries: Sequence[str]
    top_k: int
    mode: str = "hybrid"
    filter: Filter | None = None
    rerank: bool = False
    fusion: str | None = None
    dense_weight: float | None = None
    diversity: float = 0.0
    neighbours: int = 0
    collapse: bool = False
    wait_for: int = 0
    scorer: str | None = None
    explain: bool = False
    vectors: bool = False


class How(NamedTuple):
    """How one query was searched: ``mode`` is hybrid, dense or sparse; ``method`` weighted, rrf or single.

    ``dense_weight`` is there where the method is weighted. Cosines were scaled from ``low`` and ``high`` to 0
    and 1, BM25 by ``best``, the greatest; None where that side was not there.
    """

    mode: str
    method: str
    dense_weight: float | None = None
    low: float | None = None
    high: float | None = None
    best: float | None = None


@dataclass(frozen=True, slots=True)
class Hit:
    """A passage found; ``score`` is the reranker's if it was asked, from 0 to 1, else the fused one.

    ``reranked`` is what the reranker said of it, ``scorer`` who that was.

    ``own`` is where the passage itself begins and ends in the text of a widened one; ``joined`` are the ids of
    its neighbours in it. ``diversity_score`` is what decided its place where unlike passages were asked for,
    ``place`` its rank, from 1, after fusion.
    """

    passage: Passage
    score: float
    fused: Fused
    place: int = 0
    reranked: RerankScore | None = None
    scorer: str = ""
    duplicates: tuple[str, ...] = ()
    diversity_score: float | None = None
    own: tuple[int, int] | None = None
    joined: tuple[str, ...] = ()


@dataclass(frozen=True)
class Result:
    """One query's passages, best first; ``statistics`` are absent where the query was not embedded.

    ``vector`` is the query's, where it was asked for and there is one.
    """

    hits: Sequence[Hit]
    statistics: Statistics | None = None
    how: How | None = None
    vector: Vectors | None = None


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

    async def embed(self, texts: Sequence[str], fingerprint: str) -> Embedded:
        """One vector a text, by the embedder of this fingerprint if it is loaded; raises what it raised."""
        ...


class Reranker(Protocol):
    """Scores candidates again."""

    async def rerank(
        self,
        query: str,
        candidates: Sequence[Candidate],
        statistics: Statistics | None,
        scorer: str | None,
        *,
        explain: bool,
    ) -> RerankResponse:
        """The scores of the candidates, best first, each once; raises what the other side raised."""
        ...


@dataclass(frozen=True)
class Options:
    """How to search; see the settings of the same names."""

    fusion: str = "weighted"
    candidates: int = 100
    rerank_pool: int = 50
    max_inflight_queries: int = 4000
    max_wait_s: float = 30.0
    collapse_overlap: float = 0.8
    collapse_cosine: float = 0.98
    threads: int = 1
