"""Reads a text that came as a field of something else: it stays as it is, letter by letter."""

from __future__ import annotations

from services.preprocess.parsers import Parsed
from services.preprocess.parsers._sniff import looks_like_markdown
from services.preprocess.parsers.markdown import read_markdown


def read_given(text: str) -> Parsed:
    """The document that the text is, with headings where it bears the signs of Markdown."""
    return read_markdown(text) if looks_like_markdown(text) else Parsed(text, "text/plain")
