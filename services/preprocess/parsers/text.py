"""Reads plain text in any encoding: the source text is the file itself."""

from __future__ import annotations

from services.preprocess.parsers import Parsed, Parts
from services.preprocess.parsers._decoding import decode
from services.preprocess.parsers._lines import first_line_title


def load(parts: Parts) -> Text:
    """The plain text parser."""
    return Text()


class Text:
    """Takes the text as it is."""

    def parse(self, data: bytes, name: str) -> list[Parsed]:
        """One document; ``text`` is the decoded file, letter by letter."""
        return [read_text(decode(data))]


def read_text(text: str) -> Parsed:
    """The document that a plain text is; a first line that stands alone is its title."""
    return Parsed(text, "text/plain", title=first_line_title(text))
