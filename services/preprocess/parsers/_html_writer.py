"""Writes a page's elements as text: paragraphs, headings, lists, tables and code stay what they are."""

from __future__ import annotations

import re
from itertools import islice
from typing import Any

from services.preprocess.parsers import Heading, Span
from services.preprocess.parsers._lines import check_length

Element = Any  # lxml has no types

_BLANKS = re.compile("[ \t\n\r\f\u00a0]+")
_PARAGRAPH_TAGS = """
    p blockquote pre ul ol dl table figure h1 h2 h3 h4 h5 h6 hr section article main aside header footer form
    fieldset details address
"""
_LINE_TAGS = "div li tr dt dd caption figcaption summary thead tbody tfoot legend option center body html"
_PARAGRAPHS = frozenset(_PARAGRAPH_TAGS.split())
_LINES = frozenset(_LINE_TAGS.split())
_LEVELS = {f"h{level}": level for level in range(1, 7)}
_LAYOUT = ("p", "div", "h1", "h2", "h3", "ul", "ol", "pre")


class Writer:
    """Takes elements in, one after the other, and holds the text, its headings and the spans of its code."""

    def __init__(self, max_chars: int) -> None:
        self.headings: list[Heading] = []
        self.keep: list[Span] = []
        self._max_chars = max_chars
        self._pieces: list[str] = []
        self._length = 0
        self._breaks = 0  # line ends to write before the next text
        self._blank = True  # whether a blank would be the second one, or stand at a line's begin
        self._lead = ""  # what goes before the next text: a list item's mark
        self._lists: list[int] = []  # the number of the item in each open list; -1: not numbered
        self._pre = 0
        self._cells = 0  # open cells of tables that hold data
        self._tables: list[bool] = []  # whether each open table holds data
        self._heading: tuple[int, int] | None = None

    @property
    def text(self) -> str:
        """What was written so far."""
        return "".join(self._pieces)

    def write(self, root: Element) -> None:
        """Write an element and all that is in it. Not recursive: a page may nest deeply."""
        stack: list[tuple[Element, bool]] = [(root, False)]
        while stack:
            element, ended = stack.pop()
            if ended:
                self._end(element)
                if element is not root:
                    self._put(element.tail or "")
                continue
            stack.append((element, True))
            self._start(element)
            self._put(element.text or "")
            stack.extend((child, False) for child in reversed(element))

    def _start(self, element: Element) -> None:
        tag = element.tag
        self._break(tag)
        if tag in _LEVELS and not self._cells:
            self._heading = (_LEVELS[tag], len(self._pieces))
        elif tag in {"ul", "ol"}:
            start = element.get("start", "1") if tag == "ol" else ""
            self._lists.append(
                (int(start) - 1 if start.isdecimal() and len(start) < 9 else 0) if tag == "ol" else -1
            )
        elif tag == "li":
            self._item()
        elif tag == "pre":
            self._pre += 1
        elif tag == "table":
            self._tables.append(_holds_data(element))
        elif tag in {"td", "th"}:
            self._cell()

    def _end(self, element: Element) -> None:
        tag = element.tag
        if tag in _LEVELS and self._heading:
            self._close_heading()
        elif tag in {"ul", "ol"} and self._lists:
            self._lists.pop()
        elif tag == "pre" and self._pre:
            self._pre -= 1
        elif tag == "table" and self._tables:
            self._tables.pop()
        elif tag in {"td", "th"} and self._cells:
            self._cells -= 1
        elif tag == "tr" and self._tables and self._tables[-1] and not self._cells:
            self._append(" |") if self._length and not self._breaks else None
        elif tag == "br":
            self._line_break()
        if tag != "br":
            self._break(tag)

    def _break(self, tag: str) -> None:
        if tag not in _PARAGRAPHS and tag not in _LINES:
            return
        if self._cells:
            self._put(" ")
            return
        self._trim()
        within_item = tag in {"ul", "ol", "p"} and self._lists
        self._breaks = max(self._breaks, 2 if tag in _PARAGRAPHS and not within_item else 1)

    def _line_break(self) -> None:
        if self._cells:
            self._put(" ")
        else:
            self._trim()
            self._breaks = min(2, self._breaks + 1)

    def _trim(self) -> None:
        """Takes back blanks at the end of what was written."""
        while self._pieces and self._pieces[-1] != (trimmed := self._pieces[-1].rstrip()):
            self._length -= len(self._pieces[-1]) - len(trimmed)
            self._pieces.pop()
            if trimmed:
                self._pieces.append(trimmed)
        if self.keep and self.keep[-1][1] > self._length:
            self.keep[-1] = (self.keep[-1][0], self._length)

    def _item(self) -> None:
        depth = min(max(0, len(self._lists) - 1), 8)
        if self._lists and self._lists[-1] >= 0:
            self._lists[-1] += 1
            self._lead = f"{'  ' * depth}{self._lists[-1]}. "
        else:
            self._lead = f"{'  ' * depth}- "

    def _cell(self) -> None:
        if not self._tables or not self._tables[-1]:
            self._breaks = max(self._breaks, 1)
            return
        if not self._cells:
            self._flush()
            self._append("| " if not self._length or self._pieces[-1].endswith("\n") else " | ")
            self._blank = True
        self._cells += 1

    def _close_heading(self) -> None:
        level, piece = self._heading or (0, 0)
        self._heading = None
        words = "".join(self._pieces[piece:])
        if words.strip():
            start = self._length - len(words.lstrip())
            self.headings.append(Heading(start, level, " ".join(words.split())))

    def _put(self, text: str) -> None:
        if not text:
            return
        if self._pre and not self._cells:
            self._put_code(text)
            return
        plain = _BLANKS.sub(" ", text)
        if (self._blank or self._breaks) and plain[0] == " ":
            plain = plain[1:]
        if not plain:
            return
        self._flush()
        self._append(plain)
        self._blank = plain[-1] == " "

    def _put_code(self, text: str) -> None:
        code = text.replace("\r\n", "\n")
        if self._breaks or not self._length:
            code = code.lstrip("\n")
        if not code:
            return
        self._flush()
        self.keep.append((self._length, self._length + len(code)))
        self._append(code)
        self._blank = code[-1].isspace()

    def _flush(self) -> None:
        """Writes the line ends and the list item's mark that are due."""
        if self._breaks and self._length:
            self._append("\n" * self._breaks)
        if self._breaks or not self._length:
            self._blank = True
        self._breaks = 0
        if self._lead:
            lead, self._lead = self._lead, ""
            self._append(lead)

    def _append(self, piece: str) -> None:
        self._pieces.append(piece)
        self._length += len(piece)
        check_length(self._length, self._max_chars)


def _holds_data(table: Element) -> bool:
    """Whether a table is one, and no means to lay a page out."""
    if table.get("role") in {"presentation", "none"}:
        return False
    if any(inner is not table for inner in islice(table.iter("table"), 2)):
        return False
    blocks = sum(1 for _ in table.iter(*_LAYOUT))
    rows = sum(1 for _ in table.iter("tr"))
    cells = sum(1 for _ in table.iter("td", "th"))
    return cells > rows and blocks <= cells // 2
