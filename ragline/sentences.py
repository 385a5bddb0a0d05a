"""Finds the sentences of a text, as exact spans."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from itertools import pairwise

import sentencex

# The library takes time that grows with the square of a paragraph's length, so it is shown this much at once.
WINDOW = 4000
# A longer sentence is most likely several behind a stray quotation mark, which the library never leaves.
LONG = 400
# A longer one still is a list or a table without marks: its lines count as sentences.
VERY_LONG = 1000

QUOTES = "\"'\u00ab\u00bb\u2018\u2019\u201c\u201d\u201e\u2039\u203a"
_LINE_END = re.compile("\n")
_UNQUOTED = str.maketrans(dict.fromkeys(QUOTES, " "))
_SURROGATES = re.compile("[\ud800-\udfff]")
_MARK = r"(?:[-*+•‣◦]|\d{1,3}[.)]|[a-zA-Z][.)]|\(\w{1,3}\))"
# Places where a sentence begins whatever stands before: after a blank line; a list item, heading, table row, fence
# or quotation at the start of a line; the line after a heading or a table row.
_STRUCTURE = re.compile(
    r"\n[^\S\n]*\n\s*"
    rf"|\n(?=[^\S\n]*(?:{_MARK}[^\S\n]|\#{{1,6}}[^\S\n]|\||```|~~~|>[^\S\n]|=+[^\S\n=]))"
    r"|(?:(?<=\n)|\A)[^\S\n]*(?:\#{1,6}[^\S\n]|={1,6}[^\S\n]|\||```|~~~)[^\n]*\n"
)
# A short first line that ends without a full stop, above one that begins with a capital, is a title.
_TITLE = re.compile(r"(?:\n[^\S\n]*\n|\A)[^\S\n]*[A-Z0-9][^\n]{1,60}(?<=[\w)\]])[^\S\n]*\n(?=[^\S\n]*[A-Z0-9])")
_ONLY_MARK = re.compile(rf"\s*{_MARK}[^\S\n]*")


def sentences(text: str, language: str = "en") -> list[tuple[int, int]]:
    """The spans ``[start, end)`` of the sentences of ``text``, in order.

    They never overlap, begin and end with a non-blank character, and together cover every non-blank character.
    Headings, list items and table rows are sentences of their own. ``language`` is an ISO 639-1 code, whose
    abbreviations do not end a sentence. The time taken is linear in the length of ``text``.
    """
    plain = _SURROGATES.sub(" ", text)
    begins = {0, *_found(plain, language)}
    for pattern in (_STRUCTURE, _TITLE):
        begins.update(match.end() for match in pattern.finditer(plain))
    spans: list[tuple[int, int]] = []
    for start, end in _between(begins, len(text)):
        if end - start <= LONG:
            spans.append((start, end))
        else:
            spans.extend(_shorter(plain, start, end, language))
    return [span for start, end in _joined(text, spans) if (span := _stripped(text, start, end))]


def _found(text: str, language: str) -> Iterator[int]:
    """Where the library says that a sentence begins."""
    at = 0
    while at < len(text):
        end = window_end(text, at, WINDOW)
        begins = [found["start_index"] + at for found in sentencex.get_sentence_boundaries(language, text[at:end])]
        if end < len(text) and begins and begins[-1] - at > WINDOW // 2:
            end = begins[-1]  # the window may have cut the last one short: look at it again
        yield from (begin for begin in begins if begin < end)
        yield end
        at = end


def window_end(text: str, at: int, length: int) -> int:
    """The end of the window from ``at``, at most ``length`` letters on, for what looks at long texts in pieces.

    It ends with a paragraph, else a line, else a word, if one ends in its second half.
    """
    limit = at + length
    if limit >= len(text):
        return len(text)
    for mark in ("\n\n", "\n", " "):
        found = text.rfind(mark, at + length // 2, limit)
        if found > 0:
            return found + len(mark)
    return limit


def _shorter(text: str, start: int, end: int, language: str) -> Iterator[tuple[int, int]]:
    """The sentences of one that is too long to be one."""
    unquoted = text[start:end].translate(_UNQUOTED)
    begins = {start, *(_before_quotes(text, start, start + found) for found in _found(unquoted, language))}
    for begin, stop in _between(begins, end):
        lines = {begin}
        if stop - begin > VERY_LONG:
            lines.update(match.end() for match in _LINE_END.finditer(text, begin, stop))
        yield from _between(lines, stop)


def _before_quotes(text: str, start: int, at: int) -> int:
    """Moves the begin of a sentence to before the quotation marks that open it."""
    begin = at
    while begin > start and text[begin - 1] in QUOTES:
        begin -= 1
    return begin if begin > start and text[begin - 1].isspace() else at


def _between(begins: Iterable[int], end: int) -> Iterator[tuple[int, int]]:
    """The spans that begin at each of ``begins`` and end where the next begins, the last at ``end``."""
    ordered = sorted(begin for begin in set(begins) if begin < end)
    return pairwise([*ordered, end])


def _joined(text: str, spans: list[tuple[int, int]]) -> Iterator[tuple[int, int]]:
    """Puts a list item's mark that was taken for a sentence back before its item."""
    held = -1
    for start, end in spans:
        begin = held if held >= 0 else start
        if end - begin < 10 and _ONLY_MARK.fullmatch(text, begin, end):
            held = begin
        else:
            held = -1
            yield begin, end
    if held >= 0:
        yield held, len(text)


def _stripped(text: str, start: int, end: int) -> tuple[int, int] | None:
    piece = text[start:end]
    begin = start + len(piece) - len(piece.lstrip())
    return (begin, start + len(piece.rstrip())) if begin < end else None
