"""Splits a text into the units that passages are packed from: sentences, or parts of those that are too long."""

from __future__ import annotations

import re
import unicodedata
from bisect import bisect_right
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from ragline.sentences import sentences
from services.preprocess.chunkers import CountTokens

Span = tuple[int, int]

# A passage never has more characters than this for each token it may have: a word piece of unknown letters may be
# of any length, and counts as one.
MAX_CHARS_PER_TOKEN = 10
MAX_GRAPHEME = 64  # characters that are never parted at the most

_FENCE = re.compile(r"^ {0,3}(```++|~~~++)[^\n]*\n(?:.*?^ {0,3}\1[`~]*[ \t]*$|.*\Z)", re.MULTILINE | re.DOTALL)
_TABLE = re.compile(r"(?:^[ \t]*\|[^\n]*(?:\n|\Z)){2,}", re.MULTILINE)
_INDENTED = re.compile(
    r"(?<=\n\n)(?: {4}|\t)(?!\s*(?:[-*+\u2022]|\d{1,3}[.)])\s)[^\n]*\n(?:(?: {4}|\t)[^\n]*(?:\n|\Z))+"
)
_LINE = re.compile(r"[^\n]*\S[^\n]*")
_BLOCK_START = re.compile(
    r"\n[^\S\n]*\n\s*"  # behind blank lines
    r"|(?:\A|\n)[^\S\n]*(?=(?:[-*+\u2022]|\d{1,3}[.)])[^\S\n]|\#{1,6}[^\S\n])"  # at list items and headings
)
_CLAUSE = re.compile(
    r"(?<=[,;:.!?\u2026\u2013\u2014)\]}])\s+"
    r"|(?<=[\u3001\u3002\uff0c\uff1b])"
    r"|\s+(?=[(\[{\u2013\u2014])|\n+"
)
_WORD = re.compile(r"\S+")


@dataclass(frozen=True)
class Unit:
    """A piece of text that is not parted. Units of one ``block`` (a paragraph, a table) like to stay together."""

    start: int
    end: int
    tokens: int
    block: int


@dataclass(frozen=True)
class Budget:
    """What a passage may hold."""

    tokens: int
    chars: int


def split(text: str, breaks: Sequence[int], budget: Budget, count_tokens: CountTokens) -> list[Unit]:
    """The units of ``text`` in order, none over the budget; together they hold every non-blank character.

    ``breaks`` are offsets where a unit must end: the begins of headings.
    """
    whole = _whole_blocks(text)
    spans = list(_spans(text, breaks, whole))
    counts = count_tokens([text[start:end] for start, end in spans])
    blocks = _block_numbers(text, spans, whole)
    counter = _Counter(count_tokens)
    units: list[Unit] = []
    for (start, end), tokens, block in zip(spans, counts, blocks, strict=True):
        if tokens <= budget.tokens and end - start <= budget.chars:
            units.append(Unit(start, end, tokens, block))
        else:
            units += [Unit(*part, block) for part in _parts(text, (start, end), budget, counter)]
    return units


def is_boundary(text: str, at: int) -> bool:
    """Whether a text may be parted at ``at`` without breaking what a reader sees as one character."""
    if at <= 0 or at >= len(text):
        return True
    after, before = text[at], text[at - 1]
    if before.isspace() or (after < "\u0300" and before < "\u0300"):
        return not (after == "\n" and before == "\r")
    if before == "\u200d" or after in "\u200d\u200c" or "\U0001f3fb" <= after <= "\U0001f3ff":
        return False
    if unicodedata.category(after)[0] == "M" or "\u1160" <= after <= "\u11ff":
        return False
    if "\U0001f1e6" <= after <= "\U0001f1ff":  # flags are pairs
        flags = 0
        while flags < MAX_GRAPHEME and at > flags and "\U0001f1e6" <= text[at - 1 - flags] <= "\U0001f1ff":
            flags += 1
        return flags % 2 == 0
    return True


class _Counter:
    """Counts tokens of single words, each different word once."""

    def __init__(self, count_tokens: CountTokens) -> None:
        self._count_tokens = count_tokens
        self._known: dict[str, int] = {}

    def __call__(self, texts: list[str]) -> list[int]:
        new = [text for text in dict.fromkeys(texts) if text not in self._known]
        self._known.update(zip(new, self._count_tokens(new), strict=True))
        return [self._known[text] for text in texts]


def _whole_blocks(text: str) -> list[Span]:
    """Code and tables, which are cut at line ends only. Fences go before what lies within them."""
    found = [match.span() for match in _FENCE.finditer(text)]
    for pattern in (_TABLE, _INDENTED):
        starts = [start for start, _ in found]
        for match in pattern.finditer(text):
            before = bisect_right(starts, match.start()) - 1
            after = starts[before + 1] if before + 1 < len(starts) else len(text)
            if (before < 0 or match.start() >= found[before][1]) and match.end() <= after:
                found.append(match.span())
        found.sort()
    return found


def _spans(text: str, breaks: Sequence[int], whole: list[Span]) -> Iterator[Span]:
    """Sentences, cut at ``breaks`` and, within the spans ``whole``, lines instead."""
    cuts = {at for at in breaks if 0 < at < len(text)}
    at = 0
    pieces: list[Span] = []
    for start, end in whole:
        if start > at:
            pieces += [(at + s, at + e) for s, e in sentences(text[at:start])]
        pieces += [match.span() for match in _LINE.finditer(text, start, end)]
        at = max(at, end)
    pieces += [(at + s, at + e) for s, e in sentences(text[at:])]
    ordered = sorted(cuts)
    held = -1
    for start, end in pieces:
        first = held if held >= 0 else start
        held = -1
        for cut in ordered[bisect_right(ordered, first) : bisect_right(ordered, end - 1)]:
            yield from _stripped(text, first, cut)
            first = cut
        if end < len(text) and not is_boundary(text, end):
            held = first  # the sentence ends within a character: it goes on
        else:
            yield from _stripped(text, first, end)
    if held >= 0:
        yield from _stripped(text, held, len(text))


def _stripped(text: str, start: int, end: int) -> Iterator[Span]:
    piece = text[start:end]
    begin = start + len(piece) - len(piece.lstrip())
    if begin < end:
        yield begin, start + len(piece.rstrip())


def _block_numbers(text: str, spans: list[Span], whole: list[Span]) -> list[int]:
    """Which block each span belongs to."""
    begins = {match.end() for match in _BLOCK_START.finditer(text)}
    for start, end in whole:
        begins.add(start)
        begins.add(end)
    starts = [start for start, _ in whole]
    inside = [at for at in begins if _within(at, starts, whole)]
    begins.difference_update(inside)
    ordered = sorted(begins)
    return [bisect_right(ordered, start) for start, _ in spans]


def _within(at: int, starts: list[int], whole: list[Span]) -> bool:
    found = bisect_right(starts, at) - 1
    return found >= 0 and whole[found][0] < at < whole[found][1]


def _parts(text: str, span: Span, budget: Budget, counter: _Counter) -> Iterator[tuple[int, int, int]]:
    """Parts of a span that is over the budget, each with its tokens: clauses, else words, else characters."""
    clauses = list(_between(text, span, [match.end() for match in _CLAUSE.finditer(text, *span)]))
    counts = counter([text[start:end] for start, end in clauses])
    for (start, end), tokens in zip(clauses, counts, strict=True):
        if tokens <= budget.tokens and end - start <= budget.chars:
            yield start, end, tokens
        else:
            yield from _words(text, (start, end), budget, counter)


def _words(text: str, span: Span, budget: Budget, counter: _Counter) -> Iterator[tuple[int, int, int]]:
    """Runs of words, as long as an eighth of the budget: small enough to pack and to overlap with."""
    words = [match.span() for match in _WORD.finditer(text, *span)]
    counts = counter([text[start:end] for start, end in words])
    begin, held = -1, 0
    last = span[0]
    for (start, end), tokens in zip(words, counts, strict=True):
        fits = held + tokens <= max(1, budget.tokens // 8) and end - begin <= max(1, budget.chars // 8)
        if begin >= 0 and not (fits or not is_boundary(text, start)):
            yield begin, last, held
            begin, held = -1, 0
        if tokens > budget.tokens or end - start > budget.chars:
            if begin >= 0:
                yield begin, last, held
                begin, held = -1, 0
            yield from _characters(text, (start, end), budget, counter)
        else:
            begin = start if begin < 0 else begin
            held += tokens
        last = end
    if begin >= 0:
        yield begin, last, held


def _characters(text: str, span: Span, budget: Budget, counter: _Counter) -> Iterator[tuple[int, int, int]]:
    """Pieces of one word that is over the budget, each as long as a half-empty passage takes."""
    at, end = span
    size = max(1, budget.chars // 2)
    while at < end:
        stop = _boundary_before(text, at, min(end, at + size))
        tokens = counter([text[at:stop]])[0]
        while tokens > budget.tokens and stop - at > 1:
            shorter = _boundary_before(text, at, at + max(1, (stop - at) * budget.tokens // (tokens + 1)))
            if shorter >= stop:
                break
            stop = shorter
            tokens = counter([text[at:stop]])[0]
        yield at, stop, tokens
        at = stop


def _boundary_before(text: str, start: int, at: int) -> int:
    """The last place at or before ``at``, but behind ``start``, where the text may be parted."""
    for place in range(at, max(start, at - MAX_GRAPHEME), -1):
        if is_boundary(text, place):
            return place
    return at


def _between(text: str, span: Span, cuts: Sequence[int]) -> Iterator[Span]:
    first = span[0]
    for cut in [*(cut for cut in cuts if span[0] < cut < span[1] and is_boundary(text, cut)), span[1]]:
        yield from _stripped(text, first, cut)
        first = cut
