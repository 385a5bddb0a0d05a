"""Sets and systems side by side: what joining two searches costs or gains, and what reranking does."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from ragline.evaluation.metrics import interval

Systems = Mapping[str, Mapping[str, Sequence[float]]]  # system → metric → one value a query

METRIC = "ndcg@10"
SINGLE = ("sparse", "dense")
ALLOWED = {"hybrid": 0.0, "auto": 0.01}  # how far below the better single mode a set's mean may lie
RERANKED = "hybrid + reranker"
WANTED = 0.02  # of reranking, in the mean over the sets, over the best fusion of each
LOST = 0.015  # how far below the best fusion a set's reranked mean may lie


@dataclass(frozen=True)
class Verdict:
    """Of one system on one set: its mean nDCG@10 less that of the better single mode, with its 95 % interval."""

    system: str
    single: str
    difference: float
    low: float
    high: float
    holds: bool


@dataclass(frozen=True)
class Gain:
    """Of reranking on one set: mean nDCG@10 less that of the ``fusion`` that is best there, with its interval.

    The best of several is picked with the judgements in hand, so that it flatters fusion.
    """

    fusion: str
    before: float
    after: float
    low: float
    high: float

    @property
    def difference(self) -> float:
        """What reranking added."""
        return self.after - self.before


def mean(values: Sequence[float]) -> float:
    """Of one value a query."""
    return sum(values) / len(values)


def markdown(sets: Mapping[str, Systems]) -> str:
    """One row a set, one column a system, nDCG@10; the best of a row is bold."""
    systems = list(dict.fromkeys(system for measured in sets.values() for system in measured))
    lines = [f"| nDCG@10 | {' | '.join(systems)} |", "|---" * (len(systems) + 1) + "|"]
    for name, measured in sets.items():
        means = {system: round(mean(metrics[METRIC]), 3) for system, metrics in measured.items()}
        best = max(means.values())
        cells = [cell(means.get(system), best) for system in systems]
        count = len(next(iter(measured.values()))[METRIC])
        lines.append(f"| {name}, {count:,} queries | {' | '.join(cells)} |")
    return "\n".join(lines)


def cell(value: float | None, best: float) -> str:
    """A figure as the table shows it; empty where it was not measured."""
    if value is None:
        return ""
    return f"**{value:.3f}**" if value == best else f"{value:.3f}"


def verdicts(measured: Systems) -> Iterator[Verdict]:
    """Each joined mode of one set against the better of its single modes, paired by query."""
    single = max(SINGLE, key=lambda system: mean(measured[system][METRIC]))
    for system, allowed in ALLOWED.items():
        differences = paired(measured, system, single)
        low, high = interval(differences)
        difference = mean(differences)
        yield Verdict(system, single, difference, low, high, difference >= -allowed)


def gain(measured: Systems, fusion: str | None = None) -> Gain:
    """What reranking does on one set beside ``fusion``, or beside the best of all that were measured."""
    best = fusion or max(fusions(measured), key=lambda system: mean(measured[system][METRIC]))
    low, high = interval(paired(measured, RERANKED, best))
    return Gain(best, mean(measured[best][METRIC]), mean(measured[RERANKED][METRIC]), low, high)


def fusions(measured: Systems) -> list[str]:
    """The systems that join two searches without reranking."""
    return [system for system in measured if system not in SINGLE and "reranker" not in system]


def steady(sets: Mapping[str, Systems]) -> str:
    """The one fusion that is best in the mean over the sets: the most that search has without knowing the set."""
    common = fusions(next(iter(sets.values())))
    return max(common, key=lambda system: mean([mean(measured[system][METRIC]) for measured in sets.values()]))


def paired(measured: Systems, system: str, other: str) -> list[float]:
    """The difference between two systems on each query."""
    pairs = zip(measured[system][METRIC], measured[other][METRIC], strict=True)
    return [value - beside for value, beside in pairs]


def gained(sets: Mapping[str, Systems]) -> str:
    """One row a set, then the mean over the sets and whether what is wanted of reranking holds."""
    gains = {name: gain(measured) for name, measured in sets.items()}
    lines = ["| nDCG@10 | best fusion | | with reranker | gain | 95 % interval |", "|---" * 6 + "|"]
    for name, one in gains.items():
        lines.append(
            f"| {name} | {one.before:.3f} | {one.fusion} | {one.after:.3f} | {one.difference:+.3f} "
            f"| [{one.low:+.3f}, {one.high:+.3f}] |"
        )
    lines.append("")
    single = steady(sets)
    return "\n".join(
        [
            *lines,
            *verdict("the best fusion of each set", list(gains.values())),
            *verdict(f"{single}, best in the mean", [gain(measured, single) for measured in sets.values()]),
        ]
    )


def verdict(beside: str, gains: Sequence[Gain]) -> list[str]:
    """Two lines: the mean gain and the worst set, and whether they are what is wanted."""
    differences = [one.difference for one in gains]
    average, worst = mean(differences), min(differences)
    return [
        f"beside {beside}: mean gain {average:+.3f}, at least +{WANTED}: {says(holds=average >= WANTED)}",
        f"beside {beside}: worst set {worst:+.3f}, at least -{LOST}: {says(holds=worst >= -LOST)}",
    ]


def says(*, holds: bool) -> str:
    """A verdict in words."""
    return "holds" if holds else "DOES NOT HOLD"
