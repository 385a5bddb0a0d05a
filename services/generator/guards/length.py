"""Holds questions and answers to a length."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from services.generator.guards import Match, Parts, Stage

Chars = Annotated[int, Field(ge=1)]


def load(parts: Parts, *, question: Chars | None = None, answer: Chars | None = None) -> Length:
    """The most characters of each; absent: any length."""
    return Length(question, answer)


class Length:
    """What is too long is cut after its last whole word."""

    reach = 1_000_000

    def __init__(self, question: int | None, answer: int | None) -> None:
        self.limits: dict[Stage, int] = {}
        if question:
            self.limits["question"] = question
        if answer:
            self.limits["answer"] = answer

    @property
    def stages(self) -> tuple[Stage, ...]:
        """Those that have a limit."""
        return tuple(self.limits)

    def find(self, text: str, stage: Stage) -> list[Match]:
        """What is over the limit."""
        limit = self.limits.get(stage)
        if limit is None or len(text) <= limit:
            return []
        cut = max(text.rfind(" ", 0, limit + 1), 0) or limit
        stands = " \u2026" if stage == "answer" else ""
        # A long source has nothing to hide where it is quoted.
        return [Match(cut, len(text), f"over {limit} characters", stands, verbatim=True)]
