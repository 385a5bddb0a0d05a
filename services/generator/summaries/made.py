"""A summary as it grows, sentence by sentence as the guards let it be told, each with where it comes from."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable, Mapping
from contextlib import aclosing

from services.generator.checks.checking import Guard
from services.generator.events import Anew, Finding, Token
from services.generator.summaries.kept import Attributed, Event
from services.generator.summaries.outline import Origin, Piece

NOTHING = "I have no summary of this: the guards let nothing of it be told."


class Made:
    """``quoted`` are the documents' sources by id, as they may be quoted; ``guard`` makes one for each try."""

    def __init__(self, quoted: Mapping[str, str], guard: Callable[[], Guard] | None) -> None:
        self.quoted = quoted
        self.fresh = guard
        self.abstained = False
        self.begin()

    def begin(self) -> None:
        """Forget what was said."""
        self.said = ""
        self.citations: list[Attributed] = []
        self.findings: list[Finding] = []
        self.guard = self.fresh() if self.fresh else None

    async def told(self, claims: AsyncGenerator[Piece | Anew, None] | None) -> AsyncGenerator[Event | Anew, None]:
        """The events of all its sentences; ``claims`` is None where no text is left to summarise.

        Where a guard may refuse, nothing is told before it has seen all. What it refuses is an abstention.
        """
        held: list[Event | Anew] = []
        if claims:
            async with aclosing(claims):
                async for claim in claims:
                    events = self.take(claim)
                    if not self.guard or not self.guard.whole:
                        for event in events:
                            yield event
                    else:
                        held = [] if isinstance(claim, Anew) else [*held, *events]
        if self.guard and self.guard.refused:
            self.said, self.citations, held = "", [], []
        for event in held:
            yield event
        if self.guard and not self.said:
            self.said, self.abstained = NOTHING, True
            yield Token(NOTHING)

    def take(self, claim: Piece | Anew) -> list[Event | Anew]:
        """The events of its next sentence; all before it is void where it begins anew."""
        if isinstance(claim, Anew):
            self.begin()
            return [claim]
        said, findings = self.guard(claim.text) if self.guard else (claim.text, ())
        self.findings += findings
        if not said:
            return []
        text = f" {said}" if self.said else said
        self.said += text
        stop = len(self.said)
        cited = [self.cited(origin, stop - len(said), stop) for origin in sorted(claim.origins, key=order)]
        self.citations += cited
        return [Token(text), *cited]

    def cited(self, origin: Origin, begin: int, stop: int) -> Attributed:
        """Where ``said[begin:stop]`` comes from."""
        quote = self.quoted[origin.document_id][origin.start : origin.end]
        return Attributed(begin, stop, origin.document_id, origin.start, origin.end, quote)


def order(origin: Origin) -> tuple[str, int]:
    """Spans by document and place."""
    return origin.document_id, origin.start
