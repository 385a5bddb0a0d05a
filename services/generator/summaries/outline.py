"""Cuts documents into parts for summaries: at headings where they are known, always between sentences."""

from __future__ import annotations

import re
from bisect import bisect_right
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace

from ragline.sentences import sentences
from services.generator import prompt

# "# Title" of Markdown, or a line that another of = or - underlines.
HEADING = re.compile(
    r"^(?P<marks>#{1,6})[ \t]+(?P<name>\S[^\n]*?)[ \t]*#*[ \t]*$"
    r"|^(?P<over>\S[^\n]*)\n(?P<line>={3,}|-{3,})[ \t]*$",
    re.MULTILINE,
)
MAX_HEADING_CHARS = 200


@dataclass(frozen=True)
class Origin:
    """A span of a document's source."""

    document_id: str
    start: int
    end: int


@dataclass(frozen=True)
class Piece:
    """A sentence, and where it comes from: its own place in a document, or those of what it sums up."""

    text: str
    origins: tuple[Origin, ...]


@dataclass(frozen=True)
class Block:
    """Sentences under one heading, such as "Guide > Install"; they are read together if they can be."""

    heading: str
    pieces: tuple[Piece, ...]


@dataclass(frozen=True)
class Part:
    """What is summarised in one go: ``blocks`` in their order, as one text."""

    blocks: tuple[Block, ...]
    text: str = field(init=False)
    spans: tuple[tuple[int, int], ...] = field(init=False)

    def __post_init__(self) -> None:
        """Write the text, and note where each sentence stands in it."""
        lines, spans, at = [], [], 0
        for block in self.blocks:
            if block.heading and len(self.blocks) > 1:
                lines.append(f"{block.heading}:")
                at += len(lines[-1]) + 1
            for piece in block.pieces:
                lines.append(piece.text)
                spans.append((at, at + len(piece.text)))
                at += len(piece.text) + 1
        object.__setattr__(self, "text", "\n".join(lines))
        object.__setattr__(self, "spans", tuple(spans))

    @property
    def pieces(self) -> list[Piece]:
        """The sentences in their order."""
        return [piece for block in self.blocks for piece in block.pieces]

    @property
    def heading(self) -> str:
        """What its blocks' headings have in common, by whole steps."""
        paths = [block.heading.split(" > ") for block in self.blocks]
        shared = []
        for steps in zip(*paths, strict=False):
            if len(set(steps)) > 1:
                break
            shared.append(steps[0])
        return " > ".join(shared)

    def origins(self, start: int, end: int) -> tuple[Origin, ...]:
        """Where the sentences within ``text[start:end]`` come from."""
        first = max(0, bisect_right(self.spans, (start, len(self.text))) - 1)
        found: dict[Origin, None] = {}
        for (begin, _), piece in zip(self.spans[first:], self.pieces[first:], strict=True):
            if begin >= end:
                break
            found |= dict.fromkeys(piece.origins)
        return tuple(found)


def blocks(document_id: str, title: str, source: str) -> Iterator[Block]:
    """The sections of a document, each sentence with its place; one block where there are no headings."""
    path: list[tuple[int, str]] = []
    begin, heading = 0, title
    for found in HEADING.finditer(source):
        yield from block(document_id, heading, source, begin, found.start())
        level = len(found["marks"]) if found["marks"] else 1 if found["line"].startswith("=") else 2
        path = [step for step in path if step[0] < level]
        path.append((level, (found["name"] or found["over"]).strip()))
        names = [name for _, name in path]
        heading = " > ".join([title, *names] if title and title != names[0] else names)[:MAX_HEADING_CHARS]
        begin = found.end()
    yield from block(document_id, heading, source, begin, len(source))


def block(document_id: str, heading: str, source: str, begin: int, end: int) -> Iterator[Block]:
    """The sentences between two headings, if there are any."""
    pieces = tuple(
        Piece(source[begin + start : begin + stop], (Origin(document_id, begin + start, begin + stop),))
        for start, stop in sentences(source[begin:end])
    )
    if pieces:
        yield Block(heading, pieces)


def parts(found: Sequence[Block], budget: int) -> list[Part]:
    """All blocks in parts of at most ``budget`` tokens, in their order.

    A part ends with a block once it is half full, and within one only where that does not fit. A sentence that
    does not fit by itself is cut.
    """
    made: list[Part] = []
    held: list[Block] = []
    spent = 0
    for given in found:
        each = replace(given, heading=clipped(given.heading, budget // 4))
        heading = prompt.tokens(each.heading) + 2
        if held and (spent > budget // 2 or spent + heading + cost(each.pieces) > budget):
            made.append(Part(tuple(held)))
            held, spent = [], 0
        kept: list[Piece] = []
        spent += heading
        for piece in (small for large in each.pieces for small in cut(large, max(1, budget - heading))):
            if kept and spent + cost([piece]) > budget:
                made.append(Part((*held, Block(each.heading, tuple(kept)))))
                held, kept, spent = [], [], heading
            kept.append(piece)
            spent += cost([piece])
        held.append(Block(each.heading, tuple(kept)))
    return [*made, Part(tuple(held))] if held else made


def clipped(heading: str, budget: int) -> str:
    """A heading, or its end where it is long."""
    while prompt.tokens(heading) > budget:
        heading = heading[len(heading) // 2 + 1 :]
    return heading


def cost(pieces: Sequence[Piece]) -> int:
    """Tokens of sentences, by estimate."""
    return sum(prompt.tokens(piece.text) + 1 for piece in pieces)


def cut(piece: Piece, budget: int) -> Iterator[Piece]:
    """A sentence, in as many pieces as it takes to fit."""
    size = max(1, int((budget - 1) / 1.3))
    if prompt.tokens(piece.text) < budget:
        yield piece
        return
    for at in range(0, len(piece.text), size):
        text = piece.text[at : at + size]
        origins = piece.origins
        if len(origins) == 1 and origins[0].end - origins[0].start == len(piece.text):
            begin = origins[0].start + at
            origins = (Origin(origins[0].document_id, begin, begin + len(text)),)
        if text.strip():
            yield Piece(text, origins)
