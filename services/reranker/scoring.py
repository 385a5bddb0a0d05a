"""What one scorer says of one request: scores that are sound, and what is shown beside them."""

from __future__ import annotations

import math
import time
from collections.abc import Awaitable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import structlog

from ragline.errors import Internal, RaglineError
from services.reranker.comparing import Scored, best_first
from services.reranker.keeping import Scores
from services.reranker.roster import Loaded
from services.reranker.scorers import Candidate, Match, Statistics
from services.reranker.scorers._calibration import Calibration, calibrated

log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Asked:
    """A request: its passages, and what of the answer is wanted (``top_n`` None: all)."""

    query: str
    candidates: Sequence[Candidate]
    statistics: Statistics | None = None
    top_n: int | None = None
    explain: bool = False


@dataclass(slots=True)
class Answer:
    """What a scorer has said so far; what it is given up at stays None.

    ``scored`` has a score a candidate; ``order`` the indexes of those wanted, best first; ``matches`` and
    ``spans`` are by index. ``took`` are the seconds of the scorer itself, None where all its scores were kept.
    """

    scored: Scored | None = None
    order: Sequence[int] = ()
    took: float | None = None
    wanted: list[str] = field(default_factory=list)
    matches: Mapping[int, Sequence[Match]] | None = None
    spans: Mapping[int, Sequence[float]] | None = None

    def missing(self) -> list[str]:
        """What was to be shown beside the scores and is not there."""
        return [what for what in self.wanted if getattr(self, what) is None]


class Scoring:
    """Asks a scorer, or what is kept of it."""

    def __init__(self, kept: Scores, calibrations: Mapping[str, Calibration]) -> None:
        self.kept = kept
        self.calibrations = calibrations

    async def answer(self, asked: Asked, answer: Answer, loaded: Loaded) -> None:
        """Fill ``answer``, the scores first. Raises Internal for bad scores, and what the scorer raises."""
        raw = await self.scores(asked.query, asked.candidates, asked.statistics, loaded, answer)
        self.settle(asked, answer, loaded, raw)
        shown = [asked.candidates[index] for index in answer.order]
        if asked.explain and (explain := getattr(loaded.scorer, "explain", None)) is not None:
            answer.wanted.append("matches")
            matches = await beside(loaded.name, explain(asked.query, [each.text for each in shown]), len(shown))
            answer.matches = None if matches is None else dict(zip(answer.order, matches, strict=True))
        cut = [index for index in answer.order if asked.candidates[index].spans]
        if cut:
            answer.wanted.append("spans")
            pieces = [asked.candidates[index] for index in cut]
            spans = await beside(loaded.name, self.span_scores(asked, pieces, loaded), len(cut))
            answer.spans = None if spans is None else dict(zip(cut, spans, strict=True))

    def settle(self, asked: Asked, answer: Answer, loaded: Loaded, raw: Sequence[float]) -> None:
        """The calibrated scores and the order."""
        chances = calibrated(loaded.scorer, raw, self.calibrations, loaded.name)
        if any(map(math.isnan, chances)):
            raise Internal(f"The calibration of the scorer {loaded.name} gave what is no number.")
        answer.order = best_first(raw)[: asked.top_n]
        answer.scored = Scored(raw, chances)

    async def scores(
        self,
        query: str,
        candidates: Sequence[Candidate],
        statistics: Statistics | None,
        loaded: Loaded,
        answer: Answer | None = None,
    ) -> list[float]:
        """One finite raw score a candidate."""

        async def score(some: Sequence[Candidate]) -> list[float]:
            started = time.perf_counter()
            made = sound(loaded.name, await loaded.scorer.score(query, some, statistics), len(some))
            if answer is not None:
                answer.took = time.perf_counter() - started
            return made

        return await self.kept.get(loaded.scorer, query, candidates, statistics, score)

    async def span_scores(
        self, asked: Asked, candidates: Sequence[Candidate], loaded: Loaded
    ) -> list[list[float]]:
        """A raw score a span of each candidate: by the scorer's own way, else as if each were a passage."""
        own: Any = getattr(loaded.scorer, "spans", None)
        if own is not None:
            made = await own(asked.query, candidates, asked.statistics)
            if len(made) != len(candidates):
                raise Internal(
                    f"The scorer {loaded.name} gave spans of {len(made)} passages for {len(candidates)}."
                )
            pairs = zip(made, candidates, strict=True)
            return [sound(loaded.name, scores, len(each.spans)) for scores, each in pairs]
        # What the search thought of the whole passage says nothing of a piece.
        pieces = [Candidate(each.text[start:end]) for each in candidates for start, end in each.spans]
        scores = iter(await self.scores(asked.query, pieces, asked.statistics, loaded))
        return [[next(scores) for _ in each.spans] for each in candidates]


async def beside(name: str, coming: Awaitable[Sequence[Any]], count: int) -> Sequence[Any] | None:
    """What is shown beside the scores, ``count`` things; None where it fails, which costs nobody the scores."""
    try:
        made = await coming
    except RaglineError as error:
        log.warning("scorer did not explain", scorer=name, error=error.detail)
        return None
    except Exception:  # anybody's scorer, and the scores are there already
        log.exception("scorer did not explain", scorer=name)
        return None
    if len(made) != count:
        log.error("wrong number of explanations", scorer=name, given=len(made), passages=count)
        return None
    return made


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
