"""Orders the passages of a search by how well they answer the query: score, sort, cut."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import structlog

from ragline.errors import Internal, InvalidRequest, TooLarge
from services.reranker.keeping import Scores
from services.reranker.scorers import Candidate, Match, Scorer, Statistics

log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Limits:
    """The most that one request may hold; the settings of the same names."""

    max_passages: int = 1000
    max_passage_chars: int = 100_000
    max_query_chars: int = 4096
    max_total_chars: int = 10_000_000


@dataclass(frozen=True, slots=True)
class Score:
    """The score of the candidate at ``index``: from 0 to 1, and ``raw`` as the scorer gave it.

    ``matches`` where they were asked for; ``spans`` are the raw scores of the candidate's spans.
    """

    index: int
    score: float
    matches: Sequence[Match] | None = None
    raw: float = 0.0
    spans: Sequence[float] = ()


@dataclass(frozen=True, slots=True)
class Ranking:
    """The candidates' scores, best first, and the name of the scorer that gave them.

    ``scorer`` is empty where none could: the order is the one given. ``degraded`` names those that failed before.
    """

    scores: Sequence[Score]
    scorer: str
    degraded: Sequence[str] = ()


class Reranker:
    """Scores with one of several loaded scorers."""

    def __init__(
        self, scorers: Mapping[str, Scorer], default: str, limits: Limits, kept: Scores | None = None
    ) -> None:
        self.scorers = dict(scorers)
        self.default = default
        self.limits = limits
        self.kept = kept or Scores(None, 0)

    async def rerank(
        self,
        query: str,
        candidates: Sequence[Candidate],
        *,
        top_n: int | None = None,
        statistics: Statistics | None = None,
        scorer: str | None = None,
        explain: bool = False,
    ) -> Ranking:
        """The ``top_n`` best candidates (None: all), best first; of equal scores the earlier candidate goes first.

        Raises InvalidRequest for an empty query or a scorer that is not loaded (or cannot explain), TooLarge
        over a limit, Internal where the scorer broke its promise, and whatever else the scorer raises.
        """
        self.check(query, candidates)
        name, chosen = self.find(scorer)
        show = getattr(chosen, "explain", None)
        if explain and show is None:
            raise InvalidRequest(f"The scorer {name} cannot explain its scores.", field="explain")

        async def score(some: Sequence[Candidate]) -> list[float]:
            return sound(name, await chosen.score(query, some, statistics), len(some))

        scores = await self.kept.get(chosen, query, candidates, statistics, score)
        # sorted() is stable, so equal scores keep the order of the first stage.
        order = sorted(range(len(scores)), key=lambda index: -scores[index])[:top_n]
        if not explain or show is None:
            return Ranking([Score(index, scores[index]) for index in order], name)
        matches = await show(query, [candidates[index].text for index in order])
        return Ranking([Score(index, scores[index], m) for index, m in zip(order, matches, strict=True)], name)

    def find(self, scorer: str | None) -> tuple[str, Scorer]:
        """The scorer asked for, or the default one."""
        name = scorer or self.default
        if name not in self.scorers:
            loaded = ", ".join(sorted(self.scorers))
            raise InvalidRequest(f"No scorer {name!r} is loaded here; there is {loaded}.", field="scorer")
        return name, self.scorers[name]

    def check(self, query: str, candidates: Sequence[Candidate]) -> None:
        """Raise for an empty query and for what is over a limit, naming it."""
        if not query.strip():
            raise InvalidRequest("The query is empty; say what to look for.", field="query")
        within("query", "characters", len(query), "max_query_chars", self.limits.max_query_chars)
        within("passages", "passages", len(candidates), "max_passages", self.limits.max_passages)
        most, total = self.limits.max_passage_chars, 0
        for index, candidate in enumerate(candidates):
            within(f"passages[{index}]", "characters", len(candidate.text), "max_passage_chars", most)
            total += len(candidate.text)
        within("passages", "characters in all", total, "max_total_chars", self.limits.max_total_chars)


def within(field: str, unit: str, size: int, limit: str, most: int) -> None:
    """Raise TooLarge where ``size`` is over ``most``, naming the setting."""
    if size > most:
        setting = f"RERANKER_{limit.upper()}"
        raise TooLarge(f"{field} has {size} {unit}, over the limit {setting}={most}.", field=field)


def sound(name: str, scores: Sequence[float], count: int) -> list[float]:
    """The scores as floats, if there is one finite score a candidate; else Internal: garbage is never sorted."""
    values = [float(score) for score in scores]
    if len(values) != count:
        log.error("wrong number of scores", scorer=name, scores=len(values), passages=count)
        raise Internal(f"The scorer {name} gave {len(values)} scores for {count} passages; its log may say why.")
    bad = next((index for index, value in enumerate(values) if not math.isfinite(value)), None)
    if bad is not None:
        log.error("score is not a number", scorer=name, passage=bad, score=values[bad])
        raise Internal(f"The scorer {name} gave {values[bad]} for passages[{bad}]; its log may say why.")
    return values
