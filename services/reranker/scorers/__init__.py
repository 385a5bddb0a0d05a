"""What a scorer is: the one thing to write to add a way of ordering passages. See docs/how-to/add-a-scorer.md."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

from ragline.cache import Cache
from ragline.token_vectors import Layout
from services.reranker.pool import Pool


@dataclass(frozen=True, slots=True)
class Candidate:
    """A passage to score, with what the search that found it thought of it (None: that half did not find it).

    ``fused`` is what the search ordered by; ``spans`` are pieces [start, end) of the text to be scored as well.
    """

    text: str
    dense_score: float | None = None
    sparse_score: float | None = None
    fused: float | None = None
    spans: Sequence[tuple[int, int]] = ()


@dataclass(frozen=True, slots=True)
class Statistics:
    """How common the query's word pieces are: ``frequencies`` maps a piece's id to the passages that hold it.

    ``fingerprint`` is of the embedder whose pieces these are; empty where the caller did not say.
    """

    passages: int
    frequencies: Mapping[int, int]
    fingerprint: str = ""


@dataclass(frozen=True, slots=True)
class Match:
    """Where a passage answers a query: ``text[start:end]`` is most like ``query[query_start:query_end]``."""

    start: int
    end: int
    query_start: int
    query_end: int
    similarity: float


class Scorer(Protocol):
    """Scores passages for a query.

    The scores of one with a ``fingerprint`` (text that changes whenever the same input would get other scores) are
    kept; each by itself where ``pairwise`` is true, which says that no score depends on the other passages, the
    first stage's scores or the statistics.

    A scorer may also have ``async start()`` (called once the service listens), ``async check()`` (raises
    Unavailable while it cannot work: the service is then not ready) and ``async close()`` (called last). Its
    ``calibration`` makes a raw score a chance from 0 to 1, and never turns the order round.
    """

    @property
    def name(self) -> str:
        """What the answer calls it."""
        ...

    async def score(
        self, query: str, passages: Sequence[Candidate], statistics: Statistics | None
    ) -> Sequence[float]:
        """One finite score a passage, in the order given, higher is better; [] for [].

        The same input gives the same scores. ``statistics`` are None where the caller has none.
        """
        ...


class Explainer(Protocol):
    """What a scorer may have besides: it says which words of a passage made its score."""

    async def explain(self, query: str, passages: Sequence[str]) -> Sequence[Sequence[Match]]:
        """The matches of each passage, one a word piece of the query, in the query's order."""
        ...


@dataclass(frozen=True, slots=True)
class Parts:
    """What the service hands every scorer that it loads."""

    model: Callable[[str], Path]  # folder of a model: catalogue id, folder or hub id; raises SettingsError
    cache: Cache
    pool: Pool
    threads: int
    max_batch_tokens: int
    max_queue_tokens: int
    layout: Layout = field(default_factory=Layout)  # of the passages' token vectors in the cache
    data_dir: Path | None = None  # for what a scorer finds out once; None: nothing is kept
