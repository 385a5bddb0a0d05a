"""Tells which paragraph styles of a DOCX are headings, and of which level."""

from __future__ import annotations

import re
from typing import Any

Element = Any  # lxml has no types

W = "{http://schemas.openxmlformats.org/wordprocessingml/2006/main}"
TITLE = 0
MAX_LEVEL = 6

_HEADING = re.compile(
    r"(?:heading|berschrift|titre|encabezado|titolo|kop|rubrik|überschrift)\s*([1-9])", re.IGNORECASE
)
_TITLES = {"title", "titel"}


def heading_levels(styles: Element | None) -> dict[str, int]:
    """The level of each style that is a heading, by its id; TITLE for the document's title.

    A style has the level of its own outline or name, or that of the style it is based on.
    """
    if styles is None:
        return {}
    own: dict[str, int] = {}
    based: dict[str, str] = {}
    for style in styles.iter(f"{W}style"):
        name = style.get(f"{W}styleId") or ""
        level = _level(style)
        if level is not None:
            own[name] = level
        base = style.find(f"{W}basedOn")
        if base is not None:
            based[name] = base.get(f"{W}val") or ""
    return {name: level for name in {*own, *based} if (level := _inherited(name, own, based)) is not None}


def outline_level(properties: Element | None) -> int | None:
    """The heading level that paragraph properties set, from 1; None if none."""
    outline = None if properties is None else properties.find(f"{W}outlineLvl")
    value = "" if outline is None else outline.get(f"{W}val") or ""
    return int(value) + 1 if value.isdecimal() and int(value) < MAX_LEVEL else None


def _level(style: Element) -> int | None:
    named = style.find(f"{W}name")
    name = "" if named is None else (named.get(f"{W}val") or "")
    if name.lower() in _TITLES:
        return TITLE
    match = _HEADING.match(name) or _HEADING.match(style.get(f"{W}styleId") or "")
    return min(int(match[1]), MAX_LEVEL) if match else outline_level(style.find(f"{W}pPr"))


def _inherited(name: str, own: dict[str, int], based: dict[str, str]) -> int | None:
    for _ in range(20):  # a broken file may base styles on each other in a ring
        if name in own:
            return own[name]
        if name not in based:
            return None
        name = based[name]
    return None
