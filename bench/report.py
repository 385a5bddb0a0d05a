"""One row a figure: a ratio, its limit, and whether it holds."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Row:
    """A measured figure. ``limit`` is for people; ``holds`` is None where there is no limit."""

    name: str
    value: float
    limit: str
    holds: bool | None
    detail: str


def table(rows: Sequence[Row]) -> str:
    """The rows as a Markdown table."""
    signs = {True: "yes", False: "NO", None: ""}
    lines = [f"| {row.name} | {row.value:.2f} | {row.limit} | {signs[row.holds]} | {row.detail} |" for row in rows]
    return "\n".join(["| measure | value | limit | holds | taken from |", "|---|---|---|---|---|", *lines])
