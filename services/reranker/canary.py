"""A scorer that serves a share of the requests on trial, and takes itself out of service where it does badly."""

from __future__ import annotations

import hashlib
from collections import deque

import structlog

from services.reranker import figures

LAST, LEAST = 50, 20  # it is judged by its last requests, once there are this many
MOST_FAILED = 0.1

log = structlog.get_logger(__name__)


class Canary:
    """Serves ``share`` of the questions: the same ones whatever process asks, and more of them where it grows.

    It withdraws when more than a tenth of the last 50 requests failed, or the 95th percentile of their seconds is
    over ``max_p95_s`` (None: no limit); not before it has had 20.
    """

    def __init__(self, name: str, share: float, max_p95_s: float | None = None) -> None:
        self.name = name
        self.share = share
        self.max_p95_s = max_p95_s
        self.requests = 0
        self.failures = 0
        self.reason = ""  # why it has withdrawn; empty while it serves
        self.last: deque[tuple[bool, float | None]] = deque(maxlen=LAST)  # failed, seconds

    def takes(self, query: str) -> bool:
        """Whether this question is the canary's."""
        return not self.reason and place(self.name, query) < self.share

    def served(self, seconds: float) -> None:
        """It answered."""
        self.add(failed=False, seconds=seconds)

    def failed(self, error: Exception) -> None:
        """It did not answer."""
        self.failures += 1
        self.add(failed=True, seconds=None, error=error)

    def add(self, *, failed: bool, seconds: float | None, error: Exception | None = None) -> None:
        """Count a request, and withdraw where that was too much."""
        self.requests += 1
        self.last.append((failed, seconds))
        if self.reason or len(self.last) < LEAST:
            return
        failures, p95 = sum(bad for bad, _ in self.last), self.p95_s()
        if failures > MOST_FAILED * len(self.last):
            said = f", the last one: {error}" if error else ""
            self.withdraw("failures", f"{failures} of its last {len(self.last)} requests failed{said}")
        elif self.max_p95_s is not None and p95 is not None and p95 > self.max_p95_s:
            self.withdraw("slow", f"the 95th percentile of its times is {p95:.3g} s, over {self.max_p95_s:.3g} s")

    def withdraw(self, why: str, reason: str) -> None:
        """Serve nothing more."""
        self.reason = reason
        figures.withdrawn(self.name, why)
        figures.share("canary", self.name, 0)
        log.warning("canary withdrawn", scorer=self.name, reason=reason)

    def p95_s(self) -> float | None:
        """The 95th percentile of the last answers' seconds; None before there are any."""
        times = sorted(seconds for _, seconds in self.last if seconds is not None)
        return times[-(-95 * len(times) // 100) - 1] if times else None

    def describe(self) -> dict[str, object]:
        """Its state for the admin page."""
        return {
            "name": self.name,
            "share": self.share,
            "state": "withdrawn" if self.reason else "serving",
            "reason": self.reason,
            "requests": self.requests,
            "failures": self.failures,
            "p95_s": self.p95_s(),
            "max_p95_s": self.max_p95_s,
        }


def place(name: str, query: str) -> float:
    """Where a question stands among all questions, in [0, 1); another canary has them in another order."""
    digest = hashlib.blake2b(f"{name}\0{query.strip()}".encode("utf-8", "surrogatepass"), digest_size=8).digest()
    return int.from_bytes(digest, "big") / 2**64
