"""Parsers: the bytes of a file in, the text of its documents out. One module a format."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Protocol

Span = tuple[int, int]


@dataclass(frozen=True)
class Parts:
    """What a parser is handed when it is loaded. ``max_text_chars`` bounds the text of one file."""

    max_text_chars: int = 10_000_000


@dataclass(frozen=True)
class Heading:
    """A heading: where its line begins in the text, its level from 1 (highest) to 6, and its words."""

    start: int
    level: int
    text: str


@dataclass(frozen=True)
class Parsed:
    """One document as it was read. Every offset counts Unicode code points of ``text``.

    ``text`` is the source text that passages and citations point into: of text and Markdown it is what was sent,
    letter by letter; of formats that are no text it is what was extracted. ``pages`` are the begins of the pages,
    empty where the format has none. ``skip`` are spans of boilerplate that belong in no passage. ``keep`` are
    spans (code, tables) whose spacing has a meaning. ``hyphenated`` says that words may be broken at the ends of
    lines. ``id`` is the document's own, where the format gives one; ``title`` may be empty.
    """

    text: str
    media_type: str
    id: str | None = None
    title: str = ""
    headings: tuple[Heading, ...] = ()
    pages: tuple[int, ...] = ()
    skip: tuple[Span, ...] = ()
    keep: tuple[Span, ...] = ()
    hyphenated: bool = False
    metadata: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Rejected:
    """A document of a file of many that could not be read: its line or number from 1, its id if known, and why."""

    line: int
    id: str | None
    reason: str


class Parser(Protocol):
    """Reads one format."""

    def parse(self, data: bytes, name: str) -> list[Parsed | Rejected]:
        """The documents in ``data``, at least one. ``name`` is the file's name, or empty.

        Raises InvalidRequest when the file is broken or locked, TooLarge when it is over a limit.
        """
        ...
