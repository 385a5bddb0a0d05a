"""Cleans a text for reading and searching, and keeps the exact way back to its source."""

from __future__ import annotations

import re
import sys
import unicodedata
from bisect import bisect_left, bisect_right
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from functools import lru_cache

from services.preprocess.draft import Draft, Edit, Span, merged

# More marks on a letter than any script has: beyond this they only cost time (Unicode Annex 15, stream-safe text).
MAX_MARKS = 30

_SPACES = re.compile("[\u00a0\u1680\u2000-\u200a\u202f\u205f\u3000]")
_BREAKS = re.compile("[\x0b\x0c\x1c-\x1e\x85\u2028\u2029]")
_SURROGATES = re.compile("[\ud800-\udfff]")
_LIGATURES = {
    "\ufb00": "ff",
    "\ufb01": "fi",
    "\ufb02": "fl",
    "\ufb03": "ffi",
    "\ufb04": "ffl",
    "\ufb05": "st",
    "\ufb06": "st",
}
_REMOVED = (
    "\x00-\x08\x0e-\x1b\x1f\x7f-\x84\x86-\x9f\u00ad\u061c\u180e\u200b\u200e\u200f\u202a-\u202e\u2060-\u206f"
    "\ufeff\ufff9-\ufffb\ufffe\uffff\U000e0000-\U000e007f"
)
# The first character comes from one class, which is what the regex engine can look for quickly.
_UNWANTED = re.compile(
    f"[\r\ufb00-\ufb06{_REMOVED}](?:(?<=\r)\n|(?<=\x1b)"
    r"\[[0-9;?]*[A-Za-z]"
    f"|(?<=[{_REMOVED}])[{_REMOVED}]+)?"
)
_JOINER = "[\u200c\u200d]"
_BEYOND_LATIN = "[^\x00-\u024f]"  # joiners have a meaning in emoji and in Arabic and Indic scripts, not in Latin
_RUN_BEYOND_LATIN = re.compile("[^\x00-\u02ff]+")
_MANY_BEYOND_LATIN = re.compile(f"[^\x00-\u02ff]{{{MAX_MARKS + 1},}}")
_IDLE_JOINER = re.compile(
    f"{_JOINER}(?:(?<={_JOINER}{{2}}){_JOINER}*|(?<!{_BEYOND_LATIN}{_JOINER})|(?!{_BEYOND_LATIN}))"
)
_HYPHEN = re.compile("(?<=[^\\W\\d_])([-\u2010\u00ad\x02\ufffe])[ \t]*\n[ \t]*(?=\\w)")
_WORD_BEFORE = re.compile(r"[^\W\d_]+\Z")
_WORD_AFTER = re.compile(r"[^\W\d_]+")
_COMPOUND = re.compile(r"[^\W\d_]+-[^\W\d_]+")
_BLANKS = re.compile(
    r"[ \t]++(?:\n(?:[ \t]*+\n)*+|\Z)"  # at a line's end, with the blank lines that follow
    r"|\n(?:[ \t]*+\n)++"  # blank lines
    r"|[ \t]{2,}+"
)


@dataclass(frozen=True)
class Cleaned:
    """A cleaned text. ``offsets`` are pairs (offset in text, offset in source), each where a run begins.

    Within a run the two offsets grow together, so that ``ragline.spans.to_source`` finds the way back.
    """

    text: str
    offsets: list[int]
    _begins: list[int] = field(init=False, repr=False, compare=False)
    _sources: list[int] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "_begins", self.offsets[::2])
        object.__setattr__(self, "_sources", self.offsets[1::2])

    def source_at(self, at: int) -> int:
        """The source offset of ``text[at]``."""
        run = bisect_right(self._begins, at) - 1
        return self._sources[run] + at - self._begins[run]

    def runs(self, start: int, end: int) -> list[int]:
        """The runs of ``text[start:end]``, offsets in text counted from ``start``; empty if it is one run."""
        first = bisect_right(self._begins, start)
        last = bisect_left(self._begins, end, lo=first)
        if first >= last:
            return []
        inner = self.offsets[2 * first : 2 * last]
        inner[::2] = [begin - start for begin in inner[::2]]
        return [0, self.source_at(start), *inner]

    def text_at(self, source: int) -> int:
        """The offset in text of a source offset, or of what follows it where that was left out."""
        run = max(0, bisect_right(self._sources, source) - 1)
        limit = self._begins[run + 1] if run + 1 < len(self._begins) else len(self.text)
        return min(self._begins[run] + max(0, source - self._sources[run]), limit)


def clean(text: str, skip: Sequence[Span] = (), *, keep: Sequence[Span] = (), hyphenated: bool = False) -> Cleaned:
    """The text as it is embedded, searched and shown, with the way back to ``text``.

    Left out are the spans ``skip``, control and zero-width characters, direction overrides, soft hyphens, blanks
    at the ends of lines and blank lines beyond one. Unicode is normalised (NFC), line ends and spaces are made
    plain, and runs of spaces become one outside the spans ``keep``. With ``hyphenated``, words broken at a line's
    end are joined. Ordinary text comes back as it is, in one run.
    """
    draft = Draft(text)
    draft.edit((start, end, "") for start, end in merged(skip))
    draft.text = _SURROGATES.sub("\ufffd", _BREAKS.sub("\n", _SPACES.sub(" ", draft.text)))
    if hyphenated:
        draft.edit(_joins(draft.text))
    draft.edit(_unwanted(draft.text))
    draft.edit((match.start(), match.end(), "") for match in _IDLE_JOINER.finditer(draft.text))
    if not draft.text.isascii():
        draft.edit(_zalgo(draft.text))
        draft.edit(_compositions(draft.text))
    blanks = list(_BLANKS.finditer(draft.text))
    kept = draft.inside([match.start() for match in blanks], merged(keep))
    draft.edit(_collapsed(blanks, kept))
    return Cleaned(draft.text, draft.offsets())


def _unwanted(text: str) -> Iterator[Edit]:
    for match in _UNWANTED.finditer(text):
        first = match[0][0]
        yield match.start(), match.end(), "\n" if first == "\r" else _LIGATURES.get(first, "")


def _joins(text: str) -> Iterator[Edit]:
    """Joins words that a line's end broke; a compound that is written with its hyphen elsewhere keeps it."""
    compounds = {word.lower() for word in _COMPOUND.findall(text)}
    for match in _HYPHEN.finditer(text):
        before = _WORD_BEFORE.search(text, max(0, match.start() - 40), match.start())
        after = _WORD_AFTER.match(text, match.end(), match.end() + 40)
        soft = match[1] != "-" and match[1] != "\u2010"
        compound = before and after and f"{before[0]}-{after[0]}".lower() in compounds
        lower = after is not None and after[0][0].islower()
        yield match.start(), match.end(), "" if soft or (lower and not compound) else "-"


def _collapsed(blanks: list[re.Match[str]], kept: list[bool]) -> Iterator[Edit]:
    for match, keep in zip(blanks, kept, strict=True):
        start, end = match.span()
        blank = match[0]
        lines = blank.count("\n")
        if lines:
            if blank != "\n\n":
                yield start, end, "\n\n" if lines > 1 else "\n"
        elif end == len(match.string):
            yield start, end, ""
        elif not keep and start and match.string[start - 1] != "\n":
            yield start, end, " "


@lru_cache(maxsize=1)
def _tables() -> tuple[re.Pattern[str], re.Pattern[str]]:
    """Patterns for too many marks on one letter, and for what NFC may change.

    Built from the interpreter's own Unicode tables when first needed (some 0.2 s).
    """
    marks, singles = [], []
    for point in range(0x300, sys.maxunicode + 1):
        if 0x3400 <= point < 0xA000 or 0xAC00 <= point < 0xF900 or 0x30000 <= point < 0xE0000 or point > 0xE01EF:
            continue  # ideographs, Hangul syllables, private use and what is not assigned never change
        letter = chr(point)
        if unicodedata.category(letter)[0] == "M" or 0x1160 <= point <= 0x11FF:
            marks.append(point)
        elif unicodedata.normalize("NFC", letter) != letter:
            singles.append(point)
    mark = _char_class(marks)
    return re.compile(f"{mark}{{{MAX_MARKS + 1},}}"), re.compile(f"{_char_class(singles)}{mark}*|({mark}+)")


def _char_class(points: list[int]) -> str:
    """A pattern for one of the characters; those of the basic plane apart, which the engine looks up at once."""
    ranges: list[list[int]] = []
    for point in points:
        if ranges and point == ranges[-1][1] + 1 and point != 0x10000:
            ranges[-1][1] = point
        else:
            ranges.append([point, point])
    basic = "".join(f"\\u{first:04x}-\\u{last:04x}" for first, last in ranges if last < 0x10000)
    beyond = "".join(f"\\U{first:08x}-\\U{last:08x}" for first, last in ranges if last >= 0x10000)
    return f"(?:[{basic}]|(?![\\x00-\\uffff])[{beyond}])"


def _zalgo(text: str) -> Iterator[Edit]:
    for run in _MANY_BEYOND_LATIN.finditer(text):
        for match in _tables()[0].finditer(text, *run.span()):
            yield match.start() + MAX_MARKS, match.end(), ""


def _compositions(text: str) -> Iterator[Edit]:
    if unicodedata.is_normalized("NFC", text):
        return
    known: dict[str, str] = {}
    for run in _RUN_BEYOND_LATIN.finditer(text):
        for match in _tables()[1].finditer(text, *run.span()):
            start = max(0, match.start() - bool(match[1]))  # marks go with the letter before them
            found = text[start : match.end()]
            composed = known.get(found)
            if composed is None:
                composed = known[found] = unicodedata.normalize("NFC", found)
            if composed != found:
                yield start, match.end(), composed
