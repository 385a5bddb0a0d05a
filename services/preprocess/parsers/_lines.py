"""Small things that several parsers need of a text."""

from __future__ import annotations

import re

from ragline.errors import TooLarge

_FIRST_LINE = re.compile(r"\s*([^\n]*)")
_ENDS_LIKE_A_SENTENCE = re.compile(r"[.,;:!?]\W*\Z")
MAX_TITLE_CHARS = 120


def first_line_title(text: str) -> str:
    """The first line, where it stands alone like a title: short, without a full stop, a blank line after it."""
    match = _FIRST_LINE.match(text)
    line = match[1].strip() if match else ""
    if not match or not 2 < len(line) <= MAX_TITLE_CHARS or _ENDS_LIKE_A_SENTENCE.search(line):
        return ""
    after = text[match.end() : match.end() + 200]
    stands_alone = re.match(r"\n[^\S\n]*(?:\n|[=~-]{3,})", after)
    return line if stands_alone and any(letter.isalpha() for letter in line) else ""


def short(title: str) -> str:
    """A title on one line, cut to a sensible length."""
    line = " ".join(title.split())
    return line if len(line) <= 2 * MAX_TITLE_CHARS else line[: 2 * MAX_TITLE_CHARS - 1].rstrip() + "…"


def check_length(chars: int, limit: int) -> None:
    """Raises TooLarge for a text that is longer than ``limit`` characters."""
    if chars > limit:
        raise TooLarge(
            f"The document has more than {limit:,} characters of text (PREPROCESS_MAX_TEXT_CHARS): "
            "split it, or raise the limit."
        )
