"""Scorers on trial beside the one that serves: a canary answers a share of the requests, a shadow none."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping
from contextvars import Context
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import structlog

from ragline import context
from ragline.errors import Conflict, InvalidRequest
from services.reranker import figures
from services.reranker.attempts import CALLERS, Attempts, Failed
from services.reranker.canary import Canary
from services.reranker.comparing import TOP, Outcome, Scored, agreement, judge
from services.reranker.keeping import Scores
from services.reranker.roster import Roster
from services.reranker.scorers import Candidate
from services.reranker.scorers._calibration import Calibration
from services.reranker.scoring import Answer, Asked, Scoring
from services.reranker.shadow import Shadow

DEFAULT_JUDGE = "late_interaction"  # right twice in three on judged questions, overlap less often than a coin
FAILURES = 5

log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Served:
    """What went back to the caller: whose scores, and the seconds that they took (None: they were kept)."""

    name: str
    scored: Scored
    seconds: float | None
    request_id: str


class Trials:
    """At most one canary and one shadow, which must be loaded. Belongs to one event loop.

    A shadow gets ``timeout_s`` for a request, ``concurrency`` requests at once; more are dropped and counted. A
    canary withdraws when the 95th percentile of its seconds is over ``max_p95_s`` (None: no limit).
    """

    def __init__(
        self,
        roster: Roster,
        calibrations: Mapping[str, Calibration] | None = None,
        *,
        concurrency: int = 1,
        timeout_s: float = 10.0,
        max_p95_s: float | None = None,
    ) -> None:
        self.roster = roster
        self.concurrency = concurrency
        self.timeout_s = timeout_s
        self.max_p95_s = max_p95_s
        # Scores of a shadow are not kept: what is measured is the scorer, not the cache.
        self.scoring = Scoring(Scores(None, 0), calibrations or {})
        self.attempts = Attempts(FAILURES, "shadow:")
        self.canary: Canary | None = None
        self.shadowing: Shadow | None = None
        self.running: set[asyncio.Task[None]] = set()

    def pick(self, query: str) -> str | None:
        """The canary where this question is its own; equal questions always go to the same scorer."""
        canary = self.canary
        if canary is None or not canary.takes(query) or canary.name not in self.roster.names():
            return None
        return None if canary.name == self.roster.default else canary.name

    def served(self, name: str, seconds: float) -> None:
        """The canary answered a request."""
        if self.canary is not None and self.canary.name == name:
            self.canary.served(seconds)

    def failed(self, name: str, error: Exception, *, fair: bool = True) -> None:
        """The canary did not answer; not counted where it was not given a ``fair`` chance."""
        if fair and self.canary is not None and self.canary.name == name:
            self.canary.failed(error)

    def shadow(self, asked: Asked, name: str, served: Scored, seconds: float | None) -> None:
        """Have the shadow score what ``name`` has answered, if it is its turn; never waits and never raises."""
        shadow = self.shadowing
        if shadow is None or name == shadow.name or not asked.candidates or not shadow.due():
            return
        if len(self.running) >= self.concurrency:
            shadow.drop()
            return
        shadow.begin()
        # A context of its own: the request's deadline ends what is done for the answer.
        work = self.compare(shadow, asked, Served(name, served, seconds, context.request_id()))
        task = asyncio.get_running_loop().create_task(work, context=Context())
        self.running.add(task)
        task.add_done_callback(self.running.discard)

    async def compare(self, shadow: Shadow, asked: Asked, served: Served) -> None:
        """Ask the shadow and count how its answer compares."""
        with context.bind(request_id=served.request_id or None):
            started = time.perf_counter()
            try:
                made = await self.scored(shadow.name, asked)
                shadow.compared(agreement(served.scored, made), time.perf_counter() - started, served.seconds)
                await self.ask_judge(shadow, asked, served, made)
            except Failed as failed:
                shadow.fail(failed.reason, failed.error)
            except Exception as error:  # the end of a background task: nobody else would hear of it
                log.exception("shadow failed", scorer=shadow.name)
                shadow.fail("error", error)

    async def scored(self, name: str, asked: Asked) -> Scored:
        """The scores of a scorer for all candidates; raises Failed."""
        answer = Answer()
        bare = Asked(asked.query, [plain(each) for each in asked.candidates], asked.statistics)
        try:
            await self.attempts.run(
                self.roster.lease(name), partial(self.scoring.answer, bare, answer), self.timeout_s
            )
        except CALLERS as error:
            raise Failed("refused", error) from error
        assert answer.scored is not None  # noqa: S101 - the attempt would have failed
        return answer.scored

    async def ask_judge(self, shadow: Shadow, asked: Asked, served: Served, made: Scored) -> None:
        """Count whose order the judge likes better; nobody's where it does not answer or is one of the two."""
        orders = served.scored.order()[:TOP], made.order()[:TOP]
        shown = sorted(set(orders[0]) | set(orders[1]))
        if not shadow.judge or shadow.judge in {shadow.name, served.name}:
            return
        if orders[0] == orders[1]:
            shadow.judged(Outcome.TIE)
            return
        top = Asked(asked.query, [asked.candidates[index] for index in shown], asked.statistics)
        try:
            gains = (await self.scored(shadow.judge, top)).calibrated
        except Failed as failed:
            shadow.unjudged += 1
            log.info("shadow not judged", scorer=shadow.name, judge=shadow.judge, reason=failed.reason)
            return
        worth = dict(zip(shown, gains, strict=True))
        shadow.judged(judge(orders[0], orders[1], worth))

    def begin_canary(self, name: str, share: float) -> None:
        """Let a loaded scorer serve a share of the requests.

        Raises InvalidRequest for a share that is none, Conflict where it serves already or there is a canary.
        """
        self.allow("canary", name, share, self.canary)
        self.canary = Canary(name, share, self.max_p95_s)
        figures.share("canary", name, share)
        log.info("canary begins", scorer=name, share=share)

    def begin_shadow(self, name: str, share: float, judge: str | None = None) -> None:
        """Let a loaded scorer score a share of the requests behind the answers' back.

        ``judge`` is a loaded scorer; None: late_interaction, where that is loaded, serves not and is not on trial,
        else nobody. Raises as ``begin_canary``.
        """
        self.allow("shadow", name, share, self.shadowing)
        if judge is not None:
            self.loaded(judge, "judge")
            if judge == name:
                raise InvalidRequest(f"{judge} cannot be the judge in its own case; name another.", field="judge")
        elif DEFAULT_JUDGE in self.roster.names() and DEFAULT_JUDGE not in {name, self.roster.default}:
            judge = DEFAULT_JUDGE
        self.shadowing = Shadow(name, share, judge or "")
        figures.share("shadow", name, share)
        log.info("shadow begins", scorer=name, share=share, judge=judge or "")

    def allow(self, role: str, name: str, share: float, there: Canary | Shadow | None) -> None:
        """Raise unless a scorer may begin in a role."""
        self.loaded(name, "scorer")
        if there is not None:
            raise Conflict(f"The {role} is {there.name!r}; stop it first.")
        if not 0 < share <= 1:
            raise InvalidRequest(f"A share is over 0 and at most 1, not {share}.", field="share")
        if name == self.roster.default:
            raise Conflict(f"The scorer {name!r} serves already; a trial needs another.", field="scorer")

    def loaded(self, name: str, field: str) -> None:
        """Raise InvalidRequest unless a scorer is loaded."""
        if name not in self.roster.names():
            there = ", ".join(sorted(self.roster.names()))
            raise InvalidRequest(f"No scorer {name!r} is loaded here; there is {there}.", field=field)

    def end_canary(self) -> str | None:
        """No canary any more; the name of the one that was."""
        ended, self.canary = self.canary, None
        return self.ended("canary", ended)

    def end_shadow(self) -> str | None:
        """No shadow any more; the name of the one that was. What it is at ends unheard."""
        ended, self.shadowing = self.shadowing, None
        for task in self.running:
            task.cancel()
        return self.ended("shadow", ended)

    def ended(self, role: str, trial: Canary | Shadow | None) -> str | None:
        """Say that a trial is over."""
        if trial is None:
            return None
        figures.share(role, trial.name, 0)
        log.info(f"{role} ends", **trial.describe())
        return trial.name

    def describe(self) -> dict[str, Any]:
        """The trials' state for the admin page; None where there is none."""
        return {
            "canary": self.canary and self.canary.describe(),
            "shadow": self.shadowing and self.shadowing.describe(),
        }

    async def close(self) -> None:
        """End what runs in the background."""
        self.end_shadow()
        self.end_canary()
        await asyncio.gather(*self.running, return_exceptions=True)


def plain(candidate: Candidate) -> Candidate:
    """The candidate without spans, which nobody asks a shadow for."""
    return replace(candidate, spans=()) if candidate.spans else candidate
