"""Maps offsets in a passage's cleaned text to offsets in the document's source text."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Sequence


def embedded_text(title: str, section: str, text: str) -> str:
    """What is embedded and indexed for a passage: its title and section above its text.

    The one place that joins them, so that vectors kept by the hash of this text are found again.
    """
    head = " > ".join(part for part in (title, section) if part)
    return f"{head}\n{text}" if head else text


def to_source(offsets: Sequence[int], start: int, at: int) -> int:
    """The source offset of ``text[at]``.

    ``offsets`` are pairs (offset in text, offset in source), each the begin of a run that was taken over
    verbatim; empty means that the whole passage is one run from ``start``.
    """
    if not offsets:
        return start + at
    run = bisect_right(offsets[::2], at) - 1
    return offsets[2 * run + 1] + at - offsets[2 * run]
