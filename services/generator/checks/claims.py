"""Cuts what an LLM writes into claims, each as soon as it is complete."""

from __future__ import annotations

import re
from collections.abc import Iterator

from ragline.sentences import sentences

# The end of a sentence, and not of half a number.
_WHOLE = re.compile(r"(?:(?<!\d)\.|[!?\u2026\u3002\uff01\uff1f])[\"'`*_)\]\u201d\u2019\u00bb]*$")
_ENDS = frozenset(".!?\n:;|\u2026\u3002\uff01\uff1f")


class Claims:
    """Takes text piece by piece and gives whole sentences back."""

    def __init__(self) -> None:
        self.rest = ""

    def feed(self, piece: str) -> Iterator[str]:
        """The sentences that the piece completed; a last one may still grow and is kept back."""
        self.rest += piece
        if _ENDS.isdisjoint(self.rest):
            return
        lines = self.rest.split("\n")
        self.rest = lines.pop()
        for line in lines:
            yield from whole(line)
        spans = sentences(self.rest)
        if len(spans) > 1:
            done, self.rest = self.rest[: spans[-1][0]], self.rest[spans[-1][0] :]
            yield from whole(done)

    def finish(self, *, cut: bool = False) -> Iterator[str]:
        """What is left when the text ends; where it was ``cut`` short, without a last sentence that has no end."""
        rest, self.rest = self.rest.rstrip(), ""
        if cut and not _WHOLE.search(rest):
            spans = sentences(rest)
            rest = rest[: spans[-1][0]] if spans else ""
        yield from whole(rest)


def whole(text: str) -> Iterator[str]:
    """The sentences of a text."""
    for start, end in sentences(text):
        yield text[start:end]
