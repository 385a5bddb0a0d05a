"""Adds up what LLMs take for a request, by whichever step asked them, and however their texts ended."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar

from services.generator.llms import Usage


class Spending:
    """Usage by stage, of one request. What is begun in no ``stage`` of any is nobody's here."""

    def __init__(self) -> None:
        self.stages: dict[str, Usage] = {}

    @contextmanager
    def stage(self, name: str) -> Iterator[None]:
        """Count what is spent inside to a stage."""
        token = _now.set((self, name))
        try:
            yield
        finally:
            _now.reset(token)

    def add(self, name: str, usage: Usage) -> None:
        """Count to a stage; one that took nothing is not told of."""
        if usage != Usage():
            self.stages[name] = self.stages.get(name, Usage()) + usage

    @property
    def usage(self) -> Usage:
        """All stages together."""
        return sum(self.stages.values(), Usage())


_now: ContextVar[tuple[Spending, str] | None] = ContextVar("ragline_spending", default=None)


def spend(usage: Usage) -> None:
    """A text took this: tell whoever adds up for the request at hand."""
    if counting := _now.get():
        spending, stage = counting
        spending.add(stage, usage)
