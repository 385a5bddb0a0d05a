"""Turns the bytes of a text into characters, whatever encoding they are in."""

from __future__ import annotations

import codecs
import re

from charset_normalizer import from_bytes

SAMPLE = 65_536  # bytes that the guess of an encoding looks at

_BOMS = (
    (codecs.BOM_UTF8, "utf-8-sig"),
    (codecs.BOM_UTF32_LE, "utf-32"),  # before UTF-16, whose mark it begins with
    (codecs.BOM_UTF32_BE, "utf-32"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
)
_HIGH = re.compile(rb"[\x80-\xff]+")
_MULTIBYTE = re.compile(rb"[\xc3-\xdf][\x80-\xbf]|[\xe0-\xef][\x80-\xbf]{2}|[\xf0-\xf4][\x80-\xbf]{3}")
# What western European texts hold beyond ASCII. A short text of these alone is guessed wrong too often.
_WESTERN = frozenset(
    "ÀÁÂÄÅÆÇÈÉÊËÍÎÏÑÓÔÖØÚÛÜßàáâãäåæçèéêëìíîïñòóôõöøùúûüŒœ"
    "\u2018\u2019\u201c\u201d\u201e\u2013\u2014\u2026\u20ac\u2022\u2122£§©«»°·¡¿\u00a0\u00ad"
)


def decode(data: bytes) -> str:
    """The text of ``data``: by its byte order mark, as UTF-8, or as the likeliest other encoding. Never raises.

    A byte order mark is no part of the text. What the encoding cannot read becomes U+FFFD.
    """
    for mark, encoding in _BOMS:
        if data.startswith(mark):
            return data.decode(encoding, errors="replace")
    wide = wide_encoding(data)
    if wide:
        return data.decode(wide, errors="replace")
    try:
        return data.decode("utf-8")
    except UnicodeDecodeError:
        return data.decode(_guess(data), errors="replace")


def has_mark(data: bytes) -> bool:
    """Whether ``data`` begins with a byte order mark."""
    return any(data.startswith(mark) for mark, _ in _BOMS)


def wide_encoding(data: bytes) -> str | None:
    """UTF-16 without a byte order mark shows in the zero bytes at every second place of most of its text."""
    head = data[: min(len(data), 4096) & ~1]
    if len(head) < 4 or b"\x00" not in head:
        return None
    for encoding, zeros, letters in (("utf-16-le", head[1::2], head[::2]), ("utf-16-be", head[::2], head[1::2])):
        if zeros.count(0) >= 0.6 * len(zeros) and letters.count(0) <= 0.05 * len(letters):
            text = head.decode(encoding, errors="replace")
            if "\ufffd" not in text[:-1] and sum(letter.isprintable() or letter.isspace() for letter in text) >= (
                0.9 * len(text)
            ):
                return encoding
    return None


def _guess(data: bytes) -> str:
    first = _HIGH.search(data)
    start = max(0, first.start() - SAMPLE // 2) if first else 0
    sample = data[start : start + SAMPLE]
    runs = _HIGH.findall(sample)
    high = sum(map(len, runs))
    if sum(map(len, _MULTIBYTE.findall(sample))) >= max(1, 0.8 * high - 3):
        return "utf-8"  # with some damage, or cut off within a character
    if high <= 0.35 * len(sample) and len(max(runs, key=len)) <= 2 and _is_western(b"".join(runs)):
        return "cp1252"
    best = from_bytes(sample).best()
    return best.encoding if best is not None else "cp1252"


def _is_western(data: bytes) -> bool:
    return _WESTERN.issuperset(data.decode("cp1252", errors="replace"))
