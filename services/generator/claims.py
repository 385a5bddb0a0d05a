"""Cuts what an LLM writes into claims, each as soon as it is complete."""

from __future__ import annotations

from collections.abc import Iterator

from ragline.sentences import sentences

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

    def finish(self) -> Iterator[str]:
        """What is left when the text ends."""
        yield from whole(self.rest)
        self.rest = ""


def whole(text: str) -> Iterator[str]:
    """The sentences of a text."""
    for start, end in sentences(text):
        yield text[start:end]
