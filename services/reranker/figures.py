"""What the reranker counts for Prometheus: who scored and for how long, what failed, what trials came to."""

from __future__ import annotations

from collections.abc import Mapping

from ragline import metrics

AGREEMENT = (0.0, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 0.95, 0.99, 1.0)
SCORER = ("scorer",)


def scored(scorer: str, role: str, seconds: float) -> None:
    """A scorer was asked and answered; ``role`` is serving, asked, canary, fallback or shadow."""
    about = "What scorers took for their answers, those that were kept not counted."
    metrics.histogram("ragline_reranker_seconds", about, ("scorer", "role")).labels(scorer, role).observe(seconds)


def degraded(scorer: str, reason: str) -> None:
    """A scorer that was to answer did not."""
    about = "Requests that a scorer was to answer and did not, by why."
    metrics.counter("ragline_reranker_degraded", about, ("scorer", "reason")).labels(scorer, reason).inc()


def unranked() -> None:
    """No scorer answered a request."""
    metrics.counter("ragline_reranker_unranked", "Requests that went back in the order given.").inc()


def withdrawn(scorer: str, reason: str) -> None:
    """A canary took itself out of service."""
    about = "Canaries that took themselves out of service, by why."
    metrics.counter("ragline_reranker_canary_withdrawn", about, ("scorer", "reason")).labels(scorer, reason).inc()


def share(role: str, scorer: str, part: float) -> None:
    """The part of the requests that a scorer on trial sees; 0 once it is over."""
    about = "The part of the requests that a scorer on trial sees."
    metrics.gauge("ragline_reranker_trial_share", about, ("role", "scorer")).labels(role, scorer).set(part)


def shadowed(scorer: str) -> None:
    """A shadow got a request."""
    about = "Requests that a shadow scored, or tried to."
    metrics.counter("ragline_reranker_shadow_requests", about, SCORER).labels(scorer).inc()


def shadow_dropped(scorer: str) -> None:
    """A shadow was busy when its turn came."""
    about = "Requests that a shadow was too busy for."
    metrics.counter("ragline_reranker_shadow_dropped", about, SCORER).labels(scorer).inc()


def shadow_failed(scorer: str, reason: str) -> None:
    """A shadow gave no scores."""
    about = "Requests that a shadow gave no scores for, by why."
    metrics.counter("ragline_reranker_shadow_failures", about, ("scorer", "reason")).labels(scorer, reason).inc()


def agreed(scorer: str, measures: Mapping[str, float]) -> None:
    """How a shadow's order was like the one served; of Kendall's tau, from -1 to 1, it is (tau + 1) / 2."""
    about = "How a shadow's order is like the one served, from 0 to 1: first, overlap, kendall, difference."
    histogram = metrics.histogram("ragline_reranker_shadow_agreement", about, ("scorer", "measure"), AGREEMENT)
    for measure, value in measures.items():
        histogram.labels(scorer, measure).observe((value + 1) / 2 if measure == "kendall" else value)


def judged(scorer: str, outcome: str) -> None:
    """The judge liked the shadow's order better (win), as well (tie) or less (loss)."""
    about = "Requests by whose order the judge liked better: win is the shadow's."
    metrics.counter("ragline_reranker_shadow_wins", about, ("scorer", "outcome")).labels(scorer, outcome).inc()
