"""Draws quality against latency: a panel a set, a point a scorer, named where it stands. Needs matplotlib."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, LogLocator, NullLocator

from ragline.evaluation.asked import NONE
from ragline.evaluation.figures import MEAN, Row
from ragline.evaluation.report import Comparison

# Okabe and Ito's colours, told apart by the colour-blind, too, without the yellow that a light ground swallows.
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#56B4E9", "#E69F00", "#000000")
INK, FAINT = "#333333", "#8A8A8A"
COLUMNS = 3
PANEL_INCHES = (4.6, 3.9)
NOTE = (
    "Bars: 95 % interval of the paired difference to the order of the search (dashed). "
    "One that does not cross it is a difference by more than chance."
)


def draw(comparison: Comparison, folder: Path) -> list[Path]:
    """Write reranker.svg and reranker.png into ``folder``; returns their paths."""
    parts = [(title.partition(":")[0] if title != MEAN else title, rows) for title, rows in comparison.parts()]
    columns = min(COLUMNS, len(parts))
    lines = math.ceil(len(parts) / columns)
    size = (max(PANEL_INCHES[0] * columns, 6.4), PANEL_INCHES[1] * lines + 0.5)
    figure = Figure(figsize=size, layout="constrained", facecolor="white")
    grid = figure.subplots(lines, columns, squeeze=False, sharex=True)
    colours = dict(zip((label for label in comparison.labels if label != NONE), repeated(), strict=False))
    for place, axes in enumerate(grid.flat):
        if place < len(parts):
            panel(axes, *parts[place], colours)
        else:
            axes.set_visible(False)
    figure.supylabel("nDCG@10", color=INK, fontsize=10)
    figure.supxlabel(f"p50 of one call, ms (log)\n{NOTE}", color=INK, fontsize=8)
    paths = [folder / "reranker.svg", folder / "reranker.png"]
    for path in paths:
        figure.savefig(path, dpi=160)
    return paths


def repeated() -> Sequence[str]:
    """Enough colours for any number of scorers; from the eighth on they come again, and the names tell."""
    return COLOURS * 20


def panel(axes: Axes, title: str, rows: Sequence[Row], colours: dict[str, str]) -> None:
    """One set: a dashed line for the order of the search, a point with its interval for each scorer."""
    base = next(row.ndcg for row in rows if row.scorer == NONE)
    axes.set_title(title, loc="left", fontsize=10, fontweight="bold", color=INK)
    axes.set_xscale("log")
    axes.axhline(base, color=FAINT, linestyle=(0, (4, 3)), linewidth=1.2, zorder=1)
    shown = [row for row in rows if row.p50_ms is not None and row.to_none is not None]
    for row in shown:
        point(axes, row, base, colours[row.scorer])
    limits(axes, shown, base)
    axes.annotate(
        f"order of the search {base:.3f}",
        xy=(0.985, base),
        xycoords=axes.get_yaxis_transform(),
        xytext=(0, 3),
        textcoords="offset points",
        ha="right",
        fontsize=8,
        color=FAINT,
    )
    axes.grid(axis="y", color="#E6E6E6", linewidth=0.8)
    axes.set_axisbelow(True)
    axes.tick_params(colors=INK, labelsize=8, length=3, labelbottom=True)
    axes.spines[["top", "right"]].set_visible(False)
    axes.spines[["left", "bottom"]].set_color(FAINT)


def point(axes: Axes, row: Row, base: float, colour: str) -> None:
    """A scorer: its mean, the interval of its difference around it, and its name beside."""
    assert row.to_none is not None and row.p50_ms is not None  # noqa: S101, PT018 - only such rows are shown
    low, high = base + row.to_none.low, base + row.to_none.high
    axes.plot([row.p50_ms, row.p50_ms], [low, high], color=colour, linewidth=2, solid_capstyle="butt", zorder=2)
    axes.plot([row.p50_ms], [row.ndcg], "o", color=colour, markersize=7, markeredgecolor="white", zorder=3)
    axes.annotate(
        f"{row.scorer}\n{row.ndcg:.3f}, {row.p50_ms:,.1f} ms",
        xy=(row.p50_ms, row.ndcg),
        xytext=(8, 0),
        textcoords="offset points",
        va="center",
        fontsize=8,
        color=colour,
    )


def limits(axes: Axes, rows: Sequence[Row], base: float) -> None:
    """Room for the names at the right, and for the intervals above and below."""
    times = [row.p50_ms for row in rows if row.p50_ms] or [1.0]
    axes.set_xlim(min(times) / 2, max(times) * 8)
    axes.xaxis.set_major_locator(LogLocator(10, subs=(1, 2, 5)))
    axes.xaxis.set_minor_locator(NullLocator())
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    edges = [base, *(base + end for row in rows if row.to_none for end in (row.to_none.low, row.to_none.high))]
    spread = max(max(edges) - min(edges), 0.02)
    axes.set_ylim(min(edges) - 0.15 * spread, max(edges) + 0.2 * spread)
