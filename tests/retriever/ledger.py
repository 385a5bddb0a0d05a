"""What a killed retriever was told and what it acknowledged: which states of each document are right."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

State = int | None  # the version that is stored, None for nothing


@dataclass
class Ledger:
    """``states``: document → the states that are right for it; one alone once its last request was answered.

    ``changes`` counts what was asked of a document, so that a reader can tell that nothing was meanwhile.
    """

    states: dict[str, set[State]] = field(default_factory=dict)
    changes: dict[str, int] = field(default_factory=dict)
    fingerprints: list[str] = field(default_factory=list)
    generation: int = 0
    number: int = 0
    counts: dict[str, int] = field(default_factory=dict)

    def ask(self, document: str, state: State) -> None:
        """A request goes out that will leave ``state``: from now on that is right, too."""
        self.states.setdefault(document, {None}).add(state)
        self.changes[document] = self.changes.get(document, 0) + 1

    def acknowledge(self, document: str, state: State, generation: int) -> None:
        """It was answered: nothing else is right any more, and no earlier generation may be seen."""
        self.states[document] = {state}
        self.changes[document] = self.changes.get(document, 0) + 1
        self.saw(generation)

    def saw(self, generation: int) -> None:
        """A generation that must never be undone."""
        self.generation = max(self.generation, generation)

    def settled(self, document: str) -> tuple[int, State] | None:
        """How often it was changed and the one state that is right; None while a request is on its way."""
        states = self.states.get(document, {None})
        return (self.changes.get(document, 0), next(iter(states))) if len(states) == 1 else None

    def count(self, name: str, more: int = 1) -> None:
        """One more of something, for the figures at the end."""
        self.counts[name] = self.counts.get(name, 0) + more

    def alive(self) -> Iterable[str]:
        """The documents that may be there."""
        return [document for document, states in self.states.items() if states != {None}]


def mark(document: str, version: int) -> str:
    """A word that only this version of this document holds."""
    return f"{document}version{version}"


def passages(document: str, version: int) -> list[str]:
    """Its passages: one to six, each with the version's word and a place that no other has."""
    return [
        f"{mark(document, version)} speaks of harbour number {part} and of lighthouse {version * (part + 3)}."
        for part in range(1 + version % 6)
    ]
