"""Tells a PDF's headings, running heads, page numbers and contents lists from its text."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise

from services.preprocess.parsers import Heading, Span

MAX_HEADING_CHARS = 150
MAX_LEVELS = 4

# A heading is set in a size at least this many times that of the text.
_HEADING_SIZE = 1.12
_MIN_PAGES = 3  # that a line must stand on to be a running head
_DIGITS = re.compile(r"\d+|\b[ivxlc]+\b", re.IGNORECASE)
_PAGE_NUMBER = re.compile(
    r"[\s|\u00b7\u2013\u2014-]*(?:page\s*)?(?:\d{1,4}|[ivxlc]{1,7})(?:\s*(?:of|/|\|)\s*\d{1,4})?[\s|\u00b7\u2013\u2014-]*",
    re.IGNORECASE,
)
_EDGE_NUMBER = re.compile(r"\A\d{1,4}(?=\s)|(?<=\s)\d{1,4}\Z|\A\d{1,4}\Z")
_LEADERS = re.compile(r"(?:\.\s?){4,}\s*[\divxlc]*\s*\Z", re.IGNORECASE)
_NUMBERING = r"(?:(?:chapter|section|appendix)?\s*[\dA-Z][\d.]*\s+)?"


@dataclass(frozen=True)
class Line:
    """A line of a page: its text and place; ``size`` is its height, ``top`` grows upwards, in points."""

    text: str
    size: float
    top: float
    page: int
    start: int = 0  # in the document's text

    @property
    def end(self) -> int:
        """Where the line ends in the document's text."""
        return self.start + len(self.text)


@dataclass(frozen=True)
class Bookmark:
    """An entry of the PDF's outline; ``level`` counts from 1, ``page`` from 0."""

    title: str
    level: int
    page: int


def gap(above: Line, below: Line, usual: float) -> str:
    """What parts two lines of a page: a line end, or a blank line where their distance or their sizes say so."""
    distance = above.top - below.top
    resized = abs(above.size - below.size) > 0.1 * max(above.size, below.size, 1)
    return "\n\n" if usual and (distance > 1.45 * usual or (resized and distance > 0.5 * usual)) else "\n"


def usual_distance(lines: Sequence[Line]) -> float:
    """The most common distance between lines, in points; 0 where none is known."""
    distances = Counter(round(a.top - b.top, 0) for a, b in pairwise(lines) if a.page == b.page and a.top > b.top)
    return distances.most_common(1)[0][0] if distances else 0.0


def headings_by_size(lines: Sequence[Line]) -> list[Heading]:
    """Lines that are set larger than the text; the largest sizes are the highest levels."""
    sizes: Counter[float] = Counter()
    for line in lines:
        sizes[_rounded(line.size)] += len(line.text)
    if not sizes:
        return []
    body = sizes.most_common(1)[0][0]
    large = [
        line for line in lines if body and _rounded(line.size) >= _HEADING_SIZE * body and _is_title(line.text)
    ]
    if len(large) > 0.3 * len(lines) and len(lines) > 10:
        return []
    ranks = sorted({_rounded(line.size) for line in large}, reverse=True)
    return [
        Heading(first.start, min(ranks.index(_rounded(first.size)) + 1, MAX_LEVELS), words)
        for first, words in _joined(large)
    ]


def headings_by_outline(lines: Sequence[Line], outline: Sequence[Bookmark]) -> list[Heading]:
    """The outline's entries that are found as lines of the pages they lead to; none if most are not found."""
    by_page: dict[int, list[Line]] = {}
    for line in lines:
        by_page.setdefault(line.page, []).append(line)
    found: list[Heading] = []
    for entry in outline:
        words = r"\s*".join(re.escape(word) for word in entry.title.split()[:40])
        pattern = re.compile(rf"\s*{_NUMBERING}{words}\s*", re.IGNORECASE)
        at = next(
            (line.start for line in by_page.get(entry.page, []) if words and pattern.fullmatch(line.text)), None
        )
        if at is not None:
            found.append(Heading(at, min(entry.level, 6), " ".join(entry.title.split())))
    if len(found) < 2 or len(found) < len(outline) / 2:
        return []
    return sorted({heading.start: heading for heading in found}.values(), key=lambda heading: heading.start)


def boilerplate(pages: Sequence[Sequence[Line]], headings: Sequence[Heading]) -> list[Span]:
    """The spans of running heads and feet, page numbers, and the dotted lines of contents lists."""
    titles = {heading.start for heading in headings}
    spans = [(line.start, line.end) for page in pages for line in page if _LEADERS.search(line.text)]
    if len(pages) < _MIN_PAGES:
        return spans
    filled = [page for page in pages if page]
    spans += [(line.start, line.end) for line in _numbered(filled) if line.start not in titles]
    for depth, share, pattern in ((0, 0.1, _pattern), (1, 0.4, str.lower)):  # deeper in, only what is the same
        for at in (depth, -1 - depth):
            edge = [page[at] for page in filled if len(page) > 2 * depth + 1]
            counts = Counter(pattern(line.text) for line in edge)
            often = max(_MIN_PAGES, share * len(filled))
            spans += [
                (line.start, line.end)
                for line in edge
                if line.start not in titles
                and (counts[pattern(line.text)] >= often or (not depth and _PAGE_NUMBER.fullmatch(line.text)))
            ]
    return spans


def _numbered(pages: Sequence[Sequence[Line]]) -> list[Line]:
    """First and last lines with a number that counts the pages: a running head that changes with the chapter."""
    steps: dict[int, list[Line]] = {}
    for page in pages:
        for line in {page[0], page[-1]}:
            for found in _EDGE_NUMBER.findall(line.text[:100] if len(line.text) <= 100 else ""):
                steps.setdefault(int(found) - line.page, []).append(line)
    most = max(steps.values(), key=len, default=[])
    return most if len(most) >= max(_MIN_PAGES, 0.4 * len(pages)) else []


def _pattern(text: str) -> str:
    return _DIGITS.sub("#", " ".join(text.lower().split()))


def _rounded(size: float) -> float:
    return round(size * 2) / 2


def _is_title(text: str) -> bool:
    words = text.strip()
    letters = sum(letter.isalpha() for letter in words)
    return 2 < len(words) <= MAX_HEADING_CHARS and letters >= 0.4 * len(words) and not _LEADERS.search(words)


def _joined(lines: Sequence[Line]) -> Iterator[tuple[Line, str]]:
    """Headings with their words; one that goes on over the next line is one."""
    held: list[Line] = []
    for line in lines:
        last = held[-1] if held else None
        goes_on = (
            last is not None
            and last.page == line.page
            and 0 <= line.start - last.end <= 2
            and _rounded(last.size) == _rounded(line.size)
            and last.top - line.top < 2.5 * line.size
            and len(held) < 4
        )
        if held and not goes_on:
            yield held[0], " ".join(" ".join(part.text for part in held).split())
            held = []
        held.append(line)
    if held:
        yield held[0], " ".join(" ".join(part.text for part in held).split())
