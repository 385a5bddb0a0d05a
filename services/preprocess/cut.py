"""Cuts a file into passages: which format it is, its text, cleaned, chunked, with exact source offsets."""

from __future__ import annotations

import hashlib
import json
import unicodedata
from bisect import bisect_left, bisect_right
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path, PurePath
from typing import Any, Literal

from ragline import backends
from ragline.errors import InvalidRequest, RaglineError, TooLarge
from services.preprocess import chunkers, parsers
from services.preprocess.chunkers import Chunk, Chunker, CountTokens
from services.preprocess.clean import Cleaned, clean
from services.preprocess.parsers import Heading, Parsed, Parser, Rejected
from services.preprocess.parsers._given import read_given
from services.preprocess.parsers._lines import check_length, short
from services.preprocess.parsers._sniff import sniff
from services.preprocess.tokens import token_counter

__all__ = ["CutDocument", "CutOptions", "Cutter", "Kind", "Piece", "Rejected"]

Kind = Literal["text"]

# Part of the fingerprint: raise it whenever the same bytes would be cut otherwise than before.
VERSION = 1


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

    def fingerprint(self) -> str:
        """A hash of everything that changes how documents are cut, the tokenizer included (hex)."""
        options: dict[str, Any] = {**asdict(self), "version": VERSION}
        file = options.pop("tokenizer_file")
        options["tokenizer"] = hashlib.sha256(file.read_bytes()).hexdigest() if file else ""
        return hashlib.sha256(json.dumps(options, sort_keys=True).encode()).hexdigest()


@dataclass(frozen=True)
class Piece:
    """A passage. ``source[start:end]`` is the span that ``text`` came from; ``page`` is that of ``start``,
    1-based, 0 without pages; ``page_starts`` are the begins of further pages in it.

    ``offsets`` are pairs (offset in text, offset in source) as ``ragline.spans.to_source`` reads them; empty where
    the text is one run from ``start``.
    """

    text: str
    section: str
    start: int
    end: int
    page: int = 0
    offsets: list[int] = field(default_factory=list)
    page_starts: list[int] = field(default_factory=list)


@dataclass(frozen=True)
class CutDocument:
    """A document with its passages. ``id`` is None where the file gives none; offsets count in ``source``."""

    id: str | None
    title: str
    source: str
    media_type: str
    metadata: dict[str, Any]
    passages: list[Piece]


class Cutter:
    """Cuts documents. Not for hostile input in the process of a service: see ``services.preprocess.sandbox``."""

    def __init__(self, options: CutOptions) -> None:
        self._options = options
        self._parts = parsers.Parts(options.max_text_chars)
        self._parsers: dict[str, Parser] = {}
        self._count_tokens: CountTokens = token_counter(options.tokenizer_file)
        self._chunker: Chunker = backends.load(
            "services.preprocess.chunkers",
            options.chunker,
            chunkers.Parts(options.max_tokens, options.overlap_tokens),
            options.chunker_options,
        )

    @property
    def fingerprint(self) -> str:
        """See ``CutOptions.fingerprint``."""
        return self._options.fingerprint()

    def cut(
        self,
        data: bytes,
        *,
        name: str = "",
        media_type: str | None = None,
        title: str | None = None,
        kind: Kind | None = None,
    ) -> list[CutDocument | Rejected]:
        """The documents in ``data``, and those of a file of many that could not be read.

        ``kind`` "text" takes ``data`` for UTF-8 text as it is; otherwise its format is told from what it holds,
        with ``name`` and ``media_type`` deciding between kinds of text. ``title`` goes before the document's own.
        Raises InvalidRequest, Unsupported or TooLarge for a file that cannot be read as a whole.
        """
        found = self._parsed(data, name, media_type, kind)
        if len(found) == 1:
            return [found[0] if isinstance(found[0], Rejected) else self._document(found[0], title, name)]
        seen: set[str] = set()
        return [self._one_of_many(number, document, seen) for number, document in enumerate(found, start=1)]

    def _one_of_many(self, number: int, found: Parsed | Rejected, seen: set[str]) -> CutDocument | Rejected:
        """A document of a file of many: what is wrong with it says nothing about the others."""
        if isinstance(found, Rejected):
            return found
        if found.id is not None and found.id in seen:
            return Rejected(number, found.id, f"The id {found.id!r} is in this file more than once.")
        if found.id is not None:
            seen.add(found.id)
        try:
            return self._document(found, None, "")
        except RaglineError as error:
            return Rejected(number, found.id, error.detail)

    def _parsed(
        self, data: bytes, name: str, media_type: str | None, kind: Kind | None
    ) -> Sequence[Parsed | Rejected]:
        if kind == "text":
            try:
                text = data.decode("utf-8")
            except UnicodeDecodeError as error:
                raise InvalidRequest(f"The text is not valid UTF-8 (byte {error.start}).") from None
            found: Sequence[Parsed | Rejected] = [read_given(text)]
        else:
            found = self._parser(sniff(data, name, media_type)).parse(data, name)
        if len(found) == 1 and isinstance(found[0], Parsed) and not found[0].text.strip():
            raise InvalidRequest("There is no text: the document is blank.")
        return found

    def _parser(self, kind: str) -> Parser:
        if kind not in self._parsers:
            self._parsers[kind] = backends.load("services.preprocess.parsers", kind, self._parts)
        return self._parsers[kind]

    def _document(self, parsed: Parsed, title: str | None, name: str) -> CutDocument:
        check_length(len(parsed.text), self._options.max_text_chars)
        title = short(title or "") or parsed.title or (short(PurePath(name).stem) if name else "")
        cleaned = clean(parsed.text, parsed.skip, keep=parsed.keep, hyphenated=parsed.hyphenated)
        if not cleaned.text.strip():
            raise InvalidRequest("There is no text: nothing is left of the document when it is cleaned.")
        headings = [replace(heading, start=cleaned.text_at(heading.start)) for heading in parsed.headings]
        chunks = self._chunker.chunk(cleaned.text, _below_title(headings, title), self._count_tokens)
        if len(chunks) > self._options.max_passages:
            raise TooLarge(
                f"The document makes {len(chunks):,} passages, more than {self._options.max_passages:,} "
                "(PREPROCESS_MAX_PASSAGES): split it, or raise the limit."
            )
        pieces = [_piece(parsed, cleaned, chunk) for chunk in chunks]
        return CutDocument(parsed.id, title, parsed.text, parsed.media_type, parsed.metadata, pieces)


def _below_title(headings: list[Heading], title: str) -> list[Heading]:
    """The headings, with that one blanked which is the document's title: it goes before every passage anyway."""
    highest = min((heading.level for heading in headings), default=0)
    first = [heading for heading in headings if heading.level == highest]
    if len(first) != 1 or first[0].text.casefold() != title.casefold():
        return headings
    return [replace(heading, text="") if heading is first[0] else heading for heading in headings]


def _piece(parsed: Parsed, cleaned: Cleaned, chunk: Chunk) -> Piece:
    start = cleaned.source_at(chunk.start)
    end = cleaned.source_at(chunk.end - 1) + 1
    limit = cleaned.source_at(chunk.end) if chunk.end < len(cleaned.text) else len(parsed.text)
    while end < limit and _is_mark(parsed.text[end]):
        end += 1  # what was composed into the last letter
    page = bisect_right(parsed.pages, start)
    return Piece(
        cleaned.text[chunk.start : chunk.end],
        chunk.section,
        start,
        end,
        page,
        cleaned.runs(chunk.start, chunk.end),
        list(parsed.pages[page : bisect_left(parsed.pages, end)]),
    )


def _is_mark(letter: str) -> bool:
    return unicodedata.category(letter)[0] == "M" or "\u1160" <= letter <= "\u11ff"
