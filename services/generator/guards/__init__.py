"""Looks for what should not go in or come out: one small interface, a file for each kind of guard."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, Protocol

Stage = Literal["question", "passages", "answer"]
# What becomes of a find: it is told; it is told and something else stands in its place; nothing goes on with it.
Policy = Literal["flag", "mask", "refuse"]
STAGES: tuple[Stage, ...] = ("question", "passages", "answer")
POLICIES: tuple[Policy, ...] = ("flag", "mask", "refuse")


@dataclass(frozen=True)
class Match:
    """``text[start:end]`` is of a ``kind``, such as "e-mail"; ``stands`` is what a mask puts in its place.

    ``always``: it is masked by any policy, because leaving it would cost nothing but safety.
    ``verbatim``: a quotation of the source may still show it.
    """

    start: int
    end: int
    kind: str
    stands: str
    always: bool = False
    verbatim: bool = False


class Guard(Protocol):
    """Finds one kind of thing in a text."""

    stages: tuple[Stage, ...]
    """Where it can look."""
    reach: int
    """How many characters of the answer so far it has to see again with the next sentence."""

    def find(self, text: str, stage: Stage) -> Sequence[Match]:
        """What is there, in any order; the same text always gives the same."""
        ...


@dataclass(frozen=True)
class Parts:
    """What every guard is handed: nothing yet."""
