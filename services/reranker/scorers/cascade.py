"""Two scorers in a row: a cheap one orders all passages, a costly one those whose order is open near the top.

Wang, Lin and Metzler, "A cascade ranking model for efficient ranked retrieval" (SIGIR 2011), with the gap between
neighbours as the sign of doubt.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Mapping, Sequence
from typing import Annotated, Any

import structlog
from pydantic import Field

from ragline.errors import Internal
from services.reranker.roster import hook
from services.reranker.scorers import Candidate, Parts, Scorer, Statistics
from services.reranker.scorers._calibration import DEFAULT, Calibration, calibrated
from services.reranker.scorers._open import open_scorer

DELEGATED = frozenset({"explain", "spans"})
Count = Annotated[int, Field(ge=1)]

log = structlog.get_logger(__name__)


def load(  # noqa: PLR0913 - each is an option
    parts: Parts,
    *,
    then: str,
    then_options: Mapping[str, Any] | None = None,
    first: str = "late_interaction",
    first_options: Mapping[str, Any] | None = None,
    margin: Annotated[float, Field(gt=0, le=1)] = 0.01,
    keep: Count = 10,
    most: Annotated[int, Field(ge=2)] = 20,
) -> Cascade:
    """The scorer ``first`` for all passages, ``then`` for the open ones; each with its own options.

    Neighbours whose chances differ by less than ``margin`` are open, if their run begins within the first ``keep``
    places; at most ``most`` passages of a request go to ``then``. Raises SettingsError as the two scorers do.
    """
    opened = [open_scorer(first, parts, first_options or {}), open_scorer(then, parts, then_options or {})]
    return Cascade(opened[0], opened[1], margin, keep, most)


class Cascade:
    """Scores as ``first`` does, except that within a run of open passages they go by the order of ``then``."""

    name = "cascade"

    def __init__(self, first: Scorer, then: Scorer, margin: float, keep: int, most: int) -> None:
        self.first = first
        self.then = then
        self.margin = margin
        self.keep = keep
        self.most = most
        self.calibration: Calibration = getattr(first, "calibration", None) or DEFAULT
        prints = [getattr(scorer, "fingerprint", "") for scorer in (first, then)]
        # Without both, nobody knows when the same input would get other scores.
        self.fingerprint = f"cascade {margin} {keep} {most} ({') ('.join(prints)})" if all(prints) else ""

    def __getattr__(self, attribute: str) -> Any:
        """``explain`` and ``spans`` are those of the first scorer that has them."""
        if attribute in DELEGATED:
            for scorer in (self.first, self.then):
                if (found := getattr(scorer, attribute, None)) is not None:
                    return found
        raise AttributeError(f"{type(self).__name__} has no {attribute}")

    async def start(self) -> None:
        """Start both; where the second fails the first is closed again."""
        await hook(self.first, "start")()
        try:
            await hook(self.then, "start")()
        except BaseException:
            await hook(self.first, "close")()
            raise

    async def check(self) -> None:
        """Raise what either of the two raises."""
        await hook(self.first, "check")()
        await hook(self.then, "check")()

    async def close(self) -> None:
        """Close both, the second one also where the first fails to."""
        try:
            await hook(self.first, "close")()
        finally:
            await hook(self.then, "close")()

    async def score(
        self, query: str, passages: Sequence[Candidate], statistics: Statistics | None
    ) -> Sequence[float]:
        """One score a passage; raises what either scorer raises, and nothing is half scored."""
        if not passages:
            return []
        raw = sound(self.first, await self.first.score(query, passages, statistics), len(passages))
        order = sorted(range(len(raw)), key=lambda at: -raw[at])
        chances = calibrated(self.first, [raw[at] for at in order])
        runs = open_runs(chances, self.margin, self.keep, self.most)
        asked = [at for start, end in runs for at in order[start:end]]
        log.debug("cascade", passages=len(passages), open=len(asked), runs=len(runs))
        if not asked:
            return raw
        given = await self.then.score(query, [passages[at] for at in asked], statistics)
        second = dict(zip(asked, sound(self.then, given, len(asked)), strict=True))
        made = dict(enumerate(raw))
        for start, end in runs:
            below = raw[order[end]] if end < len(order) else -math.inf
            made |= reordered(order[start:end], raw, second, below)
        return list(made.values())


def open_runs(chances: Sequence[float], margin: float, keep: int, most: int) -> list[tuple[int, int]]:
    """The [start, end) places, best first, of neighbours each less than ``margin`` above the next.

    ``chances`` fall. Only runs that begin within the first ``keep`` places, and at most ``most`` places of all of
    them: the run that goes beyond is cut. A place that stands alone is not open.
    """
    runs, start, left = [], 0, most
    while start < min(keep, len(chances)) and left > 1:
        end = start + 1
        while end < len(chances) and chances[end - 1] - chances[end] < margin:
            end += 1
        taken = min(end - start, left)
        if taken > 1:
            runs.append((start, start + taken))
            left -= taken
        start = end
    return runs


def reordered(
    run: Sequence[int], raw: Sequence[float], second: Mapping[int, float], below: float
) -> dict[int, float]:
    """New raw scores for a run (best first): the scores of its places, handed out in the order of ``second``.

    Of those equal by ``second`` the first scorer's order stays. Passages equal to both scorers share the score of
    the last of their places; any other is above the one after it, be it by the least there is, so that the scores
    tell the order of ``second``. ``below`` is the score after the run.
    """

    def place(at: int) -> tuple[float, float]:
        return second[at], raw[at]

    scores = [raw[at] for at in run]
    made, last = {}, len(run)
    for _, same in itertools.groupby(sorted(run, key=place), key=place):
        group = list(same)
        below = max(scores[last - 1], math.nextafter(below, math.inf))
        last -= len(group)
        made.update(dict.fromkeys(group, below))
    return made


def sound(scorer: Scorer, scores: Sequence[float], count: int) -> list[float]:
    """The scores as floats; Internal for a wrong number of them, or one that is not finite."""
    values = [float(score) for score in scores]
    if len(values) != count or not all(map(math.isfinite, values)):
        log.error("scores of a cascade are no good", scorer=scorer.name, scores=len(values), passages=count)
        raise Internal(f"The scorer {scorer.name} of the cascade gave no sound scores; its log may say why.")
    return values
