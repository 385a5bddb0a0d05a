"""A comparison as a table in the terminal, as Markdown and as JSON."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import orjson
from rich.table import Table

from ragline.evaluation.asked import NONE
from ragline.evaluation.calibrating import Calibration
from ragline.evaluation.figures import MEAN, Measured, Row, rows
from ragline.evaluation.metrics import Difference

LEFT = 1  # columns of text; the others are numbers


@dataclass(frozen=True)
class Comparison:
    """All that came out. ``reference`` is the first scorer that was named; ``about`` says how it was measured."""

    sets: Sequence[Measured]
    labels: Sequence[str]
    reference: str
    seed: int
    about: Mapping[str, Any]
    calibrations: Mapping[str, Calibration]
    unfit: Sequence[str] = ()  # why there is no calibration of a scorer

    def parts(self) -> Iterator[tuple[str, list[Row]]]:
        """A heading and the rows of each set, then those of all where there are several."""
        for part in self.sets:
            yield heading(part), rows([part], self.labels, self.reference, self.seed)
        if len(self.sets) > 1:
            yield MEAN, self.overall()

    def overall(self) -> list[Row]:
        """The rows over all sets."""
        return rows(self.sets, self.labels, self.reference, self.seed)

    @property
    def columns(self) -> list[str]:
        """The heads of a table."""
        against = [f"- {NONE} [95 %]", "p", "won/lost/tied"]
        if self.reference != NONE and len(self.labels) > 2:
            against += [f"- {self.reference} [95 %]", "p", "won/lost/tied"]
        return ["scorer", "nDCG@10", "MRR@10", *against, "p50 ms", "p95 ms", "pairs/s"]

    def cells(self, row: Row) -> list[str]:
        """A row of a table."""
        against = versus(row.to_none)
        if self.reference != NONE and len(self.labels) > 2:
            against += versus(row.to_reference)
        speed = [number(row.p50_ms, "{:,.1f}"), number(row.p95_ms, "{:,.1f}"), number(row.pairs_s, "{:,.0f}")]
        return [row.scorer, number(row.ndcg, "{:.3f}"), number(row.mrr, "{:.3f}"), *against, *speed]


def heading(part: Measured) -> str:
    """What a set is, in a line."""
    return (
        f"{part.name}: {part.queries:,} queries, {part.documents:,} documents, recall@{part.candidates} "
        f"{part.recall:.3f} of the search, best order of its candidates {part.ceiling:.3f}"
    )


def versus(gap: Difference | None) -> list[str]:
    """The cells of a paired difference."""
    if gap is None:
        return ["", "", ""]
    chance = f"{gap.p:.4f}" if gap.p < 0.01 else f"{gap.p:.2f}"
    return [str(gap), chance, f"{gap.wins}/{gap.losses}/{gap.ties}"]


def number(value: float | None, form: str) -> str:
    """A figure; empty where there is none."""
    return "" if value is None or math.isnan(value) else form.format(value)


def tables(comparison: Comparison) -> Iterator[Table]:
    """For the terminal, one a set."""
    for title, found in comparison.parts():
        table = Table(title=title, title_justify="left", box=None, title_style="bold", padding=(0, 1))
        for place, name in enumerate(comparison.columns):
            # A narrow terminal folds what has two parts.
            table.add_column(name, justify="left" if place < LEFT else "right", no_wrap=" [" not in name)
        for row in found:
            table.add_row(*comparison.cells(row))
        yield table


def remarks(comparison: Comparison) -> Iterator[str]:
    """What a reader has to know beside the figures: odd sets, and what scorers did not answer."""
    yield from comparison.unfit
    for part in comparison.sets:
        yield from (f"{part.name}: {remark}." for remark in part.remarks)
        for label, values in part.scorers.items():
            if values.faults:
                count, first = sum(values.faults.values()), max(values.faults, key=lambda why: values.faults[why])
                yield (
                    f"{part.name}: {label} did not answer {count} of {part.queries} queries itself, which "
                    f"are left out of its figures. {first}"
                )


def markdown(comparison: Comparison) -> str:
    """For a file or a pull request."""
    about = ", ".join(f"{name} {value}" for name, value in comparison.about.items())
    lines = ["# Rerankers compared", "", f"{about}.", ""]
    columns = comparison.columns
    for title, found in comparison.parts():
        lines += [f"## {title}", "", row_of(columns), row_of(["---"] * LEFT + ["---:"] * (len(columns) - LEFT))]
        lines += [row_of(comparison.cells(row)) for row in found] + [""]
    lines += [f"- {remark}" for remark in remarks(comparison)]
    for label, calibration in comparison.calibrations.items():
        lines += ["", f"## Calibration of {label}", "", *(line for line in calibrated(label, calibration))]
    return "\n".join(lines).rstrip() + "\n"


def row_of(cells: Sequence[str]) -> str:
    """A row of a Markdown table."""
    return f"| {' | '.join(cells)} |"


def calibrated(label: str, calibration: Calibration) -> Iterator[str]:
    """The setting, and how true it is on the queries that it was not fitted on."""
    curve = {"slope": round(calibration.slope, 4), "middle": round(calibration.middle, 4)}
    yield f"    RERANKER_CALIBRATION={orjson.dumps({label: curve}).decode()}"
    yield ""
    yield (
        f"On the other half of the queries: foretold and true shares are {calibration.error:.3f} apart "
        f"on average; squared error {calibration.brier:.4f}, of a constant {calibration.brier_constant:.4f}."
    )
    yield ""
    yield row_of(["passages", "foretold", "relevant"])
    yield row_of(["---:"] * 3)
    for one in calibration.bins:
        yield row_of([f"{one.passages:,}", f"{one.foretold:.3f}", f"{one.relevant:.3f}"])


def as_json(comparison: Comparison) -> bytes:
    """All figures, with each query's."""
    plain = {
        "about": dict(comparison.about),
        "reference": comparison.reference,
        "seed": comparison.seed,
        "sets": [
            {**asdict(part), "rows": [asdict(row) for row in rows([part], comparison.labels, *rest(comparison))]}
            for part in comparison.sets
        ],
        "mean": [asdict(row) for row in comparison.overall()],
        "calibrations": {label: asdict(found) for label, found in comparison.calibrations.items()},
    }
    return orjson.dumps(plain, option=orjson.OPT_INDENT_2)


def rest(comparison: Comparison) -> tuple[str, int]:
    """What the rows need besides."""
    return comparison.reference, comparison.seed
