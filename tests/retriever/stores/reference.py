"""What a store should do with writes that come in any order, in a dict: the rules of decision record 0009."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

BETWEEN = 10_000  # places between two numbers


@dataclass(frozen=True)
class Held:
    """A document that is there."""

    texts: Sequence[str]
    container: str
    seq: int


class Reference:
    """Each method answers whether the write was stale, or how many passages it removed."""

    def __init__(self) -> None:
        self.documents: dict[str, Held] = {}
        self.stamps: dict[str, int] = {}
        self.top = 0  # the greatest place so far

    def taken(self, number: int) -> None:
        """A number was reserved: what the store numbers itself from now on comes after it."""
        self.top = max(self.top, number * BETWEEN)

    def place(self, seq: int) -> int:
        """The place of a write; the store's own numbers lie between those reserved before and after."""
        self.top = max(self.top, seq * BETWEEN) if seq else self.top + 1
        return seq * BETWEEN or self.top

    def newest(self, name: str) -> int:
        """The newest number applied to an id."""
        held = self.documents.get(name)
        return max(held.seq if held else 0, self.stamps.get(name, 0))

    def drop(self, names: Sequence[str]) -> int:
        """Remove documents, and remember their numbers."""
        passages = 0
        for name in names:
            gone = self.documents.pop(name)
            self.stamps[name] = max(self.stamps.get(name, 0), gone.seq)
            passages += len(gone.texts)
        return passages

    def made(self, name: str, seq: int) -> list[str]:
        """What writes up to ``seq`` made of an id."""
        return [
            each for each, held in self.documents.items() if name in (each, held.container) and held.seq <= seq
        ]

    def upsert(self, name: str, texts: Sequence[str], container: str, given: int) -> bool:
        """Whether it is stale."""
        seq = self.place(given)
        if self.newest(name) > seq or (container and self.newest(container) > seq):
            return True
        if container != name:
            self.drop([each for each in self.made(name, seq) if each != name])
        self.documents[name] = Held(texts, container, seq)
        return False

    def settle(self, container: str, kept: Sequence[str], given: int) -> bool:
        """Whether it is stale."""
        seq = self.place(given)
        if self.newest(container) > seq:
            return True
        self.drop([each for each in self.made(container, seq) if each not in kept])
        self.stamps[container] = max(self.stamps.get(container, 0), seq)
        return False

    def delete(self, name: str, given: int) -> int:
        """How many passages went."""
        seq = self.place(given)
        passages = self.drop(self.made(name, seq))
        self.stamps[name] = max(self.stamps.get(name, 0), seq)
        return passages

    def texts(self) -> dict[str, Sequence[str]]:
        """What is there."""
        return {name: held.texts for name, held in self.documents.items()}
