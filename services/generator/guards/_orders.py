"""Reads the patterns of orders.toml: the ways in which a text gives orders to a model."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

# A sentence whose weights add up to this orders a model.
ORDERS = 1.0
_FILE = Path(__file__).with_name("orders.toml")
_PARTING = re.compile(r"[\W_]+")
_WORDS_BETWEEN = re.compile(r"<(\d)>")


@dataclass(frozen=True)
class Sign:
    """A pattern over folded text, and how much it says that a model is ordered about."""

    kind: str
    weight: float
    pattern: re.Pattern[str]
    needles: tuple[str, ...]

    def places(self, text: str, haystack: str) -> Iterator[re.Match[str]]:
        """Where it matches ``text``; ``haystack`` is what ``spaced`` makes of it."""
        if any(needle in haystack for needle in self.needles):
            yield from self.pattern.finditer(text)

    @property
    def strong(self) -> bool:
        """Whether it is enough by itself."""
        return self.weight >= ORDERS


def read(file: Path = _FILE) -> list[Sign]:
    """The patterns, those that are enough by themselves first."""
    tables = tomllib.loads(file.read_text())
    names: dict[str, str] = tables.pop("names")
    signs = [
        Sign(kind, float(weight), re.compile(expanded(pattern, names), re.MULTILINE), looked_for(needles))
        for kind, table in tables.items()
        for weight, (needles, pattern) in entries(table)
    ]
    return sorted(signs, key=lambda sign: -sign.weight)


def entries(table: dict[str, Any]) -> Iterator[tuple[str, list[str]]]:
    """The weight, the needles and the pattern of each line; TOML reads ``0.5`` as a table in a table."""
    for weight, given in table.items():
        if isinstance(given, dict):
            yield from ((f"{weight}.{digits}", pattern) for digits, pattern in entries(given))
        else:
            yield from ((weight, pair) for pair in given)


def looked_for(needles: str) -> tuple[str, ...]:
    """The needles of a line."""
    return tuple(needle.replace("_", " ") for needle in needles.split())


def spaced(text: str) -> str:
    """What needles are looked for in: the text with one space wherever words part, and the text itself."""
    return f" {_PARTING.sub(' ', text)} \n{text}"


def expanded(pattern: str, names: dict[str, str]) -> str:
    """A pattern as the ``re`` module reads it; every repetition in it is bounded, so its time is, too."""
    for name, given in names.items():
        pattern = pattern.replace(f"{{{name}}}", given)
    pattern = _WORDS_BETWEEN.sub(r"(?:[^\\W_]{1,24}[\\W_]{1,8}){0,\1}?", pattern)
    return pattern.replace(" ", r"[\W_]{1,8}").replace("~", r"[\W_]{0,8}")
