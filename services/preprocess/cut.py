"""Cuts a file into passages: which format it is, its text, cleaned, chunked, with exact source offsets."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from services.preprocess.parsers import Rejected

__all__ = ["CutDocument", "CutOptions", "Piece", "Rejected"]

Kind = Literal["text"]


@dataclass(frozen=True)
class CutOptions:
    """How documents are cut. ``tokenizer_file`` is the model's tokenizer.json; without one words are counted."""

    tokenizer_file: Path | None = None
    chunker: str = "headings"
    max_tokens: int = 200
    overlap_tokens: int = 32
    max_text_chars: int = 10_000_000
    max_passages: int = 50_000
    chunker_options: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Piece:
    """A passage. ``source[start:end]`` is the span that ``text`` came from; ``page`` is 1-based, 0 without pages.

    ``offsets`` are pairs (offset in text, offset in source) as ``ragline.spans.to_source`` reads them; empty where
    the text is one run from ``start``.
    """

    text: str
    section: str
    start: int
    end: int
    page: int = 0
    offsets: list[int] = field(default_factory=list)


@dataclass(frozen=True)
class CutDocument:
    """A document with its passages. ``id`` is None where the file gives none; ``source`` is what offsets count in."""

    id: str | None
    title: str
    source: str
    media_type: str
    metadata: dict[str, Any]
    passages: list[Piece]
