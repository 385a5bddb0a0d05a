"""Keeps callers from what is away or broken: after failures they are refused at once, until a try succeeds."""

from __future__ import annotations

import time
from collections.abc import Callable

import structlog
from prometheus_client import Counter, Gauge
from redis.exceptions import AuthenticationError, AuthorizationError, NoPermissionError

from ragline import metrics

FIRST_PAUSE_S, LONGEST_PAUSE_S = 0.25, 5.0
LOGIN = (AuthenticationError, AuthorizationError, NoPermissionError)

log = structlog.get_logger(__name__)


class Breaker:
    """Knows whether something is worth asking: after a failure it is not, for a pause that grows.

    Closed, everything passes. ``after`` failures in a row open it: everything is refused at once. When the pause
    is over one call is let through; if that succeeds it closes, else the next pause is twice as long, up to
    ``longest_s``. Belongs to one event loop.
    """

    def __init__(
        self,
        name: str,
        *,
        what: str = "redis",
        first_s: float = FIRST_PAUSE_S,
        longest_s: float = LONGEST_PAUSE_S,
        after: int = 1,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.name = name
        self.what = what
        self.first_s, self.longest_s = first_s, longest_s
        self.after = after
        self.clock = clock
        self.in_a_row = 0
        self.pause_s = 0.0  # 0: closed
        self.until = 0.0
        self.trying = False
        gauge, failures = meters(what)
        self.gauge = gauge.labels(name)
        self.gauge.set(1)
        self.failures = failures.labels(name)

    @property
    def closed(self) -> bool:
        """Whether calls pass."""
        return not self.pause_s

    def admit(self) -> bool:
        """Whether a call may try; who is admitted must say ``passed``, ``failed`` or ``left``."""
        if self.closed:
            return True
        if self.trying or self.clock() < self.until:
            return False
        self.trying = True
        return True

    def passed(self) -> None:
        """An admitted call succeeded."""
        if not self.closed:
            log.info(f"{self.what} is back", server=self.name)
        self.pause_s, self.trying, self.in_a_row = 0.0, False, 0
        self.gauge.set(1)

    def failed(self, error: BaseException) -> None:
        """An admitted call found nobody."""
        self.failures.inc()
        self.in_a_row += 1
        if self.in_a_row < self.after:
            return
        if self.closed:
            what = "refuses the login" if isinstance(error, LOGIN) else "is away"
            log.warning(f"{self.what} {what}", server=self.name, error=f"{type(error).__name__}: {error}")
        elif not self.trying:
            return  # one of those that were under way when the breaker opened
        self.pause_s = min(self.longest_s, self.pause_s * 2 or self.first_s)
        self.until = self.clock() + self.pause_s
        self.trying = False
        self.gauge.set(0)

    def left(self) -> None:
        """An admitted call was given up before it knew; the next one may try."""
        self.trying = False


def meters(what: str) -> tuple[Gauge, Counter]:
    """Whether servers of a kind answer, and the calls that they did not; their names stand here to be found."""
    if what == "scorer":
        return (
            metrics.gauge("ragline_scorer_up", "1 while the scorer is asked, 0 while it is skipped.", ("server",)),
            metrics.counter("ragline_scorer_failures", "Calls that the scorer failed.", ("server",)),
        )
    if what == "llm":
        return (
            metrics.gauge("ragline_llm_up", "1 while the server is asked, 0 while it is skipped.", ("server",)),
            metrics.counter("ragline_llm_failures", "Requests that the LLM server failed.", ("server",)),
        )
    if what == "milvus":
        return (
            metrics.gauge(
                "ragline_milvus_up", "1 while Milvus answers, 0 while it is taken for away.", ("server",)
            ),
            metrics.counter("ragline_milvus_failures", "Calls that Milvus did not answer.", ("server",)),
        )
    return (
        metrics.gauge("ragline_redis_up", "1 while the Redis answers, 0 while it is taken for away.", ("server",)),
        metrics.counter("ragline_redis_failures", "Calls that Redis did not answer.", ("server",)),
    )
