"""Sets and systems side by side, and whether joining two searches ever costs what one of them had."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from ragline.evaluation.metrics import interval

Systems = Mapping[str, Mapping[str, Sequence[float]]]  # system → metric → one value a query

METRIC = "ndcg@10"
SINGLE = ("sparse", "dense")
ALLOWED = {"hybrid": 0.0, "auto": 0.01}  # how far below the better single mode a set's mean may lie


@dataclass(frozen=True)
class Verdict:
    """Of one system on one set: its mean nDCG@10 less that of the better single mode, with its 95 % interval."""

    system: str
    single: str
    difference: float
    low: float
    high: float
    holds: bool


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
        pairs = zip(measured[system][METRIC], measured[single][METRIC], strict=True)
        differences = [value - other for value, other in pairs]
        low, high = interval(differences)
        difference = mean(differences)
        yield Verdict(system, single, difference, low, high, difference >= -allowed)
