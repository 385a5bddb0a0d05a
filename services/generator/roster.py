"""The LLMs that are set up, by name, and who stands in for whom."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from ragline.errors import InvalidRequest
from services.generator.chain import Chain, Named
from services.generator.llms import LLM
from services.generator.shared import deadline

LAST = "extractive"


class Roster:
    """``order`` are names of ``llms``: the default, then those that stand in, first things first.

    ``llms`` has "extractive", which needs no model and comes last in every line. ``timeout_s`` is what all LLMs
    together may take for one text.
    """

    def __init__(self, llms: Mapping[str, LLM], order: Sequence[str], timeout_s: float) -> None:
        self.llms = llms
        self.order = tuple(order)
        self.timeout_s = timeout_s

    @property
    def names(self) -> list[str]:
        """What a request may ask for."""
        return sorted(self.llms)

    @property
    def default(self) -> LLM:
        """Who writes where nobody is asked for."""
        return self.llms[self.order[0]]

    def chosen(self, wanted: str = "") -> LLM:
        """The LLM of that name, or the default; raises InvalidRequest that says which there are."""
        return self.line(wanted)[0].llm

    def line(self, wanted: str = "") -> tuple[Named, ...]:
        """Who is asked, one after the other; raises InvalidRequest for a name that is not set up."""
        if wanted and wanted not in self.llms:
            raise InvalidRequest(
                f"llm {wanted[:100]!r} is not set up; there are: {', '.join(self.names)}.", field="llm"
            )
        first = wanted or self.order[0]
        if first == LAST:
            return (Named(LAST, self.llms[LAST]),)
        names = [name for name in dict.fromkeys([first, *self.order[1:]]) if name != LAST]
        return tuple(Named(name, self.llms[name]) for name in [*names, LAST])

    def chain(self, wanted: str = "") -> Chain:
        """One text's way through the line."""
        return Chain(self.line(wanted), self.timeout_s, deadline)

    async def close(self) -> None:
        """Let go of all models and connections."""
        for llm in self.llms.values():
            await llm.close()
