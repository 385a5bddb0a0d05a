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
    "Bars: 95 % interval of the paired difference to the order of the search (dashed).\n"
    "Where a bar does not cross the line, the difference is more than chance."
)
LABEL_WIDTH, LABEL_HEIGHT = 0.42, 0.12  # of a panel: names nearer than that are moved apart


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
    candidates = comparison.about["candidates"]
    figure.supxlabel(
        f"p50 of a call with {candidates} candidates, ms (log)\n{NOTE}", color=INK, fontsize=8, linespacing=1.5
    )
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
    limits(axes, shown, base)
    for row, height in zip(shown, heights(axes, shown), strict=True):
        point(axes, row, base, height, colours[row.scorer])
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


def point(axes: Axes, row: Row, base: float, height: float, colour: str) -> None:
    """A scorer: its mean, the interval of its difference around it, and its name beside, at ``height``."""
    assert row.to_none is not None and row.p50_ms is not None  # noqa: S101, PT018 - only such rows are shown
    low, high = base + row.to_none.low, base + row.to_none.high
    axes.plot([row.p50_ms, row.p50_ms], [low, high], color=colour, linewidth=2, solid_capstyle="butt", zorder=2)
    axes.plot([row.p50_ms], [row.ndcg], "o", color=colour, markersize=7, markeredgecolor="white", zorder=3)
    across = axes.transLimits.transform((math.log10(row.p50_ms), row.ndcg))[0]
    axes.annotate(
        f"{row.scorer}\n{row.ndcg:.3f}, {row.p50_ms:,.1f} ms",
        xy=(row.p50_ms, row.ndcg),
        xytext=(across + 0.035, height),
        textcoords="axes fraction",
        va="center",
        fontsize=8,
        color=colour,
        bbox={"facecolor": "white", "edgecolor": "none", "alpha": 0.85, "pad": 1.0},
        arrowprops={"arrowstyle": "-", "color": colour, "linewidth": 0.8, "shrinkA": 0, "shrinkB": 4},
        zorder=4,
    )


def heights(axes: Axes, rows: Sequence[Row]) -> list[float]:
    """Where the names stand, as shares of the panel's height: beside their points, moved up from one another."""
    points = [axes.transLimits.transform((math.log10(row.p50_ms or 1.0), row.ndcg)) for row in rows]
    found: dict[int, float] = {}
    for place in sorted(range(len(rows)), key=lambda place: points[place][1]):
        height = max(LABEL_HEIGHT / 2, points[place][1])
        for other, taken in found.items():
            if abs(points[place][0] - points[other][0]) < LABEL_WIDTH:
                height = max(height, taken + LABEL_HEIGHT)
        found[place] = height
    return [found[place] for place in range(len(rows))]


def limits(axes: Axes, rows: Sequence[Row], base: float) -> None:
    """Room for the names at the right, and for the intervals above and below."""
    times = [row.p50_ms for row in rows if row.p50_ms] or [1.0]
    axes.set_xlim(min(times) / 2, max(times) * 8)
    axes.xaxis.set_major_locator(LogLocator(10, subs=(1, 2, 5)))
    axes.xaxis.set_minor_locator(NullLocator())
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    edges = [base, *(base + end for row in rows if row.to_none for end in (row.to_none.low, row.to_none.high))]
    spread = max(max(edges) - min(edges), 0.05)
    axes.set_ylim(min(edges) - 0.2 * spread, max(edges) + 0.3 * spread)
