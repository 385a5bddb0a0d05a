"""Draws quality against latency: a panel a set, a point a scorer, named where it stands. Needs matplotlib."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FixedLocator, FuncFormatter, NullLocator

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
POINTS_END, NAMES_BEGIN = 0.56, 0.64  # of a panel's width: points at the left, names in a column at the right
MOST_TICKS = 9
NAME_HEIGHT = 0.13  # of a panel's height: two lines of text


def draw(comparison: Comparison, folder: Path) -> list[Path]:
    """Write reranker.svg and reranker.png into ``folder``; returns their paths."""
    parts = [(title.partition(":")[0] if title != MEAN else title, rows) for title, rows in comparison.parts()]
    columns = 2 if len(parts) == 4 else min(COLUMNS, len(parts))
    lines = math.ceil(len(parts) / columns)
    size = (max(PANEL_INCHES[0] * columns, 6.4), PANEL_INCHES[1] * lines + 0.5)
    figure = Figure(figsize=size, layout="constrained", facecolor="white")
    grid = figure.subplots(lines, columns, squeeze=False, sharex=True)
    colours = dict(zip((label for label in comparison.labels if label != NONE), repeated(), strict=False))
    for place, axes in enumerate(grid.flat):
        if place < len(parts):
            across(axes, [row for _, rows in parts for row in rows])
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
    shown = [row for row in rows if row.p50_ms is not None and row.to_none is not None]
    axes.set_title(title, loc="left", fontsize=10, fontweight="bold", color=INK)
    up(axes, shown, base)
    axes.axhline(base, xmax=NAMES_BEGIN - 0.01, color=FAINT, linestyle=(0, (4, 3)), linewidth=1.2, zorder=1)
    wanted = [share(axes, base), *(share(axes, row.ndcg) for row in shown)]
    line, *heights = apart(wanted, NAME_HEIGHT)
    end = 10 ** axes.transLimits.inverted().transform((NAMES_BEGIN - 0.01, 0))[0]
    name(axes, f"order of the search\n{base:.3f}", (end, base), line, FAINT)
    for row, height in zip(shown, heights, strict=True):
        point(axes, row, base, colours[row.scorer])
        text = f"{row.scorer}\n{row.ndcg:.3f}, {row.p50_ms:,.1f} ms"
        name(axes, text, (row.p50_ms or 1.0, row.ndcg), height, colours[row.scorer])
    axes.grid(axis="y", color="#EBEBEB", linewidth=0.8)
    axes.set_axisbelow(True)
    axes.tick_params(colors=INK, labelsize=8, length=3, labelbottom=True)
    axes.spines[["top", "right"]].set_visible(False)
    axes.spines[["left", "bottom"]].set_color(FAINT)


def point(axes: Axes, row: Row, base: float, colour: str) -> None:
    """A scorer: its mean, and the interval of its difference around it."""
    assert row.to_none is not None and row.p50_ms is not None  # noqa: S101, PT018 - only such rows are shown
    low, high = base + row.to_none.low, base + row.to_none.high
    axes.plot([row.p50_ms, row.p50_ms], [low, high], color=colour, linewidth=2, solid_capstyle="butt", zorder=2)
    axes.plot([row.p50_ms], [row.ndcg], "o", color=colour, markersize=7, markeredgecolor="white", zorder=3)


def name(axes: Axes, text: str, at: tuple[float, float], height: float, colour: str) -> None:
    """A name in the column at the right, with a thin line to what it names."""
    arrow = {"arrowstyle": "-", "color": colour, "linewidth": 0.7, "alpha": 0.7, "relpos": (0, 0.5), "shrinkB": 0}
    axes.annotate(
        text,
        xy=at,
        xytext=(NAMES_BEGIN, height),
        textcoords="axes fraction",
        va="center",
        fontsize=8,
        color=colour,
        bbox={"facecolor": "white", "edgecolor": "none", "pad": 1.0},
        arrowprops=arrow,
        zorder=4,
    )


def share(axes: Axes, value: float) -> float:
    """How high a value stands, as a share of the panel's height."""
    low, high = axes.get_ylim()
    return (value - low) / (high - low)


def apart(wanted: Sequence[float], gap: float) -> list[float]:
    """The heights, moved as little as it takes to be ``gap`` from one another and within the panel."""
    gap = min(gap, 1 / len(wanted))
    order = sorted(range(len(wanted)), key=lambda place: wanted[place])
    found = dict.fromkeys(order, 0.0)
    lowest = gap / 2
    for place in order:
        found[place] = max(wanted[place], lowest)
        lowest = found[place] + gap
    highest = 1 - gap / 2
    for place in reversed(order):
        found[place] = min(found[place], highest)
        highest = found[place] - gap
    return [found[place] for place in range(len(wanted))]


def across(axes: Axes, rows: Sequence[Row]) -> None:
    """The axis of latencies, the same in all panels, as far as the points go; right of it are the names."""
    times = [row.p50_ms for row in rows if row.p50_ms] or [1.0]
    low, last = math.log10(min(times) / 1.5), math.log10(max(times))
    high = low + (last - low) / POINTS_END
    end = low + (high - low) * (NAMES_BEGIN - 0.01)
    axes.set_xscale("log")
    axes.set_xlim(10**low, 10**high)
    axes.spines["bottom"].set_bounds(10**low, 10**end)
    whole = range(math.floor(low), math.ceil(end) + 1)
    ticks = [math.log10(step) + power for power in whole for step in (1, 2, 5)]
    seen = [tick for tick in ticks if low <= tick <= end]
    if len(seen) > MOST_TICKS:
        seen = [tick for tick in seen if tick.is_integer()]
    axes.xaxis.set_major_locator(FixedLocator([10**tick for tick in seen]))
    axes.xaxis.set_minor_locator(NullLocator())
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,.4g}"))


def up(axes: Axes, rows: Sequence[Row], base: float) -> None:
    """The axis of quality, with room for the intervals."""
    edges = [base, *(base + end for row in rows if row.to_none for end in (row.to_none.low, row.to_none.high))]
    spread = max(max(edges) - min(edges), 0.05)
    axes.set_ylim(min(edges) - 0.15 * spread, max(edges) + 0.15 * spread)
