"""Chunkers: a cleaned text in, the spans of its passages out. One module a way of cutting."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

from services.preprocess.parsers import Heading

# Counts the model's word pieces of each text, special tokens left out.
CountTokens = Callable[[Sequence[str]], list[int]]


@dataclass(frozen=True)
class Parts:
    """What a chunker is handed: passages hold at most ``max_tokens`` and share about ``overlap_tokens``."""

    max_tokens: int = 200
    overlap_tokens: int = 32


@dataclass(frozen=True)
class Chunk:
    """A passage: a span of the text, and the heading path it stands under, "Guide > Install"."""

    start: int
    end: int
    section: str


class Chunker(Protocol):
    """Cuts a text into passages."""

    def chunk(self, text: str, headings: Sequence[Heading], count_tokens: CountTokens) -> list[Chunk]:
        """Passages in order that together hold every non-blank character of ``text``, none over the budget."""
        ...
