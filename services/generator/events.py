"""What an answer in the making consists of, in the order in which it is sent."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from ragline.v1.passage_pb2 import Passage
from ragline.v1.reranker_pb2 import Match
from ragline.v1.retriever_pb2 import Hit
from services.generator.citations import Citation
from services.generator.llms import Usage


@dataclass(frozen=True)
class Retrieval:
    """How passages are searched for, as in /retrieve; the retriever knows what each may say.

    ``wait_for`` is a generation: the answer is made from no earlier one.
    """

    mode: str = "hybrid"
    fusion: str = ""
    dense_weight: float | None = None
    diversity: float = 0.0
    neighbours: int = 0
    collapse: bool = False
    wait_for: int = 0


@dataclass(frozen=True)
class Question:
    """What is asked of a collection, and how; ``scorer`` is one the reranker has loaded, empty: its default."""

    tenant: str
    collection: str
    query: str
    top_k: int
    max_tokens: int
    temperature: float = 0.0
    filter_json: str = ""
    explain: bool = False
    scorer: str = ""
    retrieval: Retrieval = Retrieval()


@dataclass(frozen=True)
class Ranked:
    """A passage with its final score; ``place`` is its rank, from 1, in the order of the search.

    ``score`` is a chance from 0 to 1 where a scorer gave it, and ``raw`` what that scorer itself said; both are
    the search's score where none did. ``matches`` are the words that made it, where they were asked for.
    """

    hit: Hit
    score: float
    place: int
    raw: float = 0.0
    matches: tuple[Match, ...] = ()

    @property
    def passage(self) -> Passage:
        """The passage itself."""
        return self.hit.passage


@dataclass(frozen=True)
class Passages:
    """The passages that the answer is made from, best first."""

    ranked: tuple[Ranked, ...]


@dataclass(frozen=True)
class Token:
    """A piece of the answer; all of them joined are the answer."""

    text: str


@dataclass(frozen=True)
class Cited:
    """A citation, sent right after its marker first stood in a token."""

    citation: Citation


@dataclass(frozen=True)
class Spent:
    """Tokens that this request took: none where the answer was ``cached``."""

    usage: Usage
    cached: bool = False


@dataclass(frozen=True)
class Outcome:
    """How an answer came out; what of it is the same for everyone who asked."""

    answer: str
    citations: tuple[Citation, ...]
    abstained: bool
    degraded: tuple[str, ...]
    usage: Usage
    model: str
    timings_ms: Mapping[str, float] = field(default_factory=dict)
    explain: Mapping[str, Any] | None = None


@dataclass(frozen=True)
class Done:
    """The whole response; a stream without it failed."""

    id: str
    outcome: Outcome
    timings_ms: Mapping[str, float]
    generation: int
    cached: bool


Event = Passages | Token | Cited | Spent | Done
