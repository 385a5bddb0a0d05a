"""A scorer that scores a share of the requests after they were answered, and how it compares with who served."""

from __future__ import annotations

from dataclasses import dataclass, field

from services.reranker import figures
from services.reranker.comparing import Agreement, Outcome


@dataclass(slots=True)
class Mean:
    """A mean of what has been added so far."""

    count: int = 0
    total: float = 0.0

    def add(self, value: float) -> None:
        """One more."""
        self.count += 1
        self.total += value

    def describe(self) -> dict[str, float | int | None]:
        """The mean, None of nothing, and of how many."""
        return {"mean": self.total / self.count if self.count else None, "count": self.count}


@dataclass(slots=True)
class Shadow:
    """What a shadow has seen and what came of it; ``judge`` is the scorer that says which order is better."""

    name: str
    share: float
    judge: str = ""
    owed: float = 0.0
    requests: int = 0
    dropped: int = 0
    failures: int = 0
    unjudged: int = 0
    last_failure: str = ""
    means: dict[str, Mean] = field(default_factory=dict)
    outcomes: dict[Outcome, int] = field(default_factory=lambda: dict.fromkeys(Outcome, 0))

    def due(self) -> bool:
        """Whether this request is one of its share: they come evenly, so busy questions count as they come."""
        self.owed += self.share
        if self.owed < 1:
            return False
        self.owed -= 1
        return True

    def drop(self) -> None:
        """It was too busy for a request of its share."""
        self.dropped += 1
        figures.shadow_dropped(self.name)

    def begin(self) -> None:
        """It is asked."""
        self.requests += 1
        figures.shadowed(self.name)

    def fail(self, reason: str, error: Exception) -> None:
        """It gave no scores."""
        self.failures += 1
        self.last_failure = f"{reason}: {error}"
        figures.shadow_failed(self.name, reason)

    def compared(self, found: Agreement, seconds: float, served_s: float | None) -> None:
        """It answered, in ``seconds``; the scorer that serves took ``served_s`` (None: its scores were kept)."""
        for measure, value in found.measures().items():
            self.add(measure, value)
        figures.agreed(self.name, found.measures())
        figures.scored(self.name, "shadow", seconds)
        self.add("seconds", seconds)
        if served_s is not None:
            self.add("served_seconds", served_s)

    def add(self, what: str, value: float) -> None:
        """One more value of a running mean."""
        self.means.setdefault(what, Mean()).add(value)

    def judged(self, outcome: Outcome) -> None:
        """The judge has compared the orders."""
        self.outcomes[outcome] += 1
        figures.judged(self.name, outcome)

    def describe(self) -> dict[str, object]:
        """Its state for the admin page."""
        return {
            "name": self.name,
            "share": self.share,
            "judge": self.judge,
            "requests": self.requests,
            "dropped": self.dropped,
            "failures": self.failures,
            "last_failure": self.last_failure,
            "means": {what: mean.describe() for what, mean in self.means.items()},
            "wins": self.outcomes[Outcome.WIN],
            "ties": self.outcomes[Outcome.TIE],
            "losses": self.outcomes[Outcome.LOSS],
            "unjudged": self.unjudged,
        }
