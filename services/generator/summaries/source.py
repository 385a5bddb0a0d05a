"""The texts that are summarised, and the way from what is shown of each to its place in the document."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import dataclass, replace

from services.generator.summaries.outline import Block, Origin, Part, Piece, blocks, parts


@dataclass(frozen=True)
class Source:
    """One text to summarise; the id is empty where it came with the request.

    ``text`` is what may be shown of it, ``quoted`` the whole source as it may be quoted, letter by letter.
    ``runs`` are places in both at which they begin to go along with each other; none: they are the same.
    """

    id: str
    title: str
    text: str
    quoted: str
    runs: Sequence[tuple[int, int]] = ()

    def place(self, at: int) -> int:
        """Where the source has ``text[at]``."""
        if not self.runs:
            return at
        shown, source = self.runs[bisect_right(self.runs, at, key=lambda run: run[0]) - 1]
        return source + at - shown

    def blocks(self) -> list[Block]:
        """Its sections, each sentence with its place in the source."""
        found = list(blocks(self.id, self.title, self.text))
        if not self.runs:
            return found
        return [replace(each, pieces=tuple(self.placed(piece) for piece in each.pieces)) for each in found]

    def placed(self, piece: Piece) -> Piece:
        """A sentence of ``text`` with the span of the source that it stands for."""
        spans = [(self.place(each.start), self.place(each.end - 1) + 1) for each in piece.origins]
        return Piece(piece.text, tuple(Origin(self.id, start, end) for start, end in spans))


def cut_up(found: Sequence[Source], budget: int) -> list[Part]:
    """All texts in parts."""
    return parts([block for each in found for block in each.blocks()], budget)
