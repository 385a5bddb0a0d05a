"""One answer in the making: what an LLM is asked for it, and what of its text may be said."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable
from contextlib import aclosing

from services.generator.chain import Chain
from services.generator.checks.checking import Checker
from services.generator.clock import Clock
from services.generator.events import Cited, Question, Token
from services.generator.llms import LLM
from services.generator.prompt import Prompt


class Draft:
    """Has a checker for what is being said; ``fresh`` makes one, ``ask`` the prompt that suits an LLM."""

    def __init__(
        self, question: Question, ask: Callable[[LLM], Prompt], fresh: Callable[[], Checker], clock: Clock
    ) -> None:
        self.question = question
        self.fresh = fresh
        self.clock = clock
        self.prompt_for = ask
        self.prompt: Prompt | None = None
        self.checker = fresh()
        self.whole = True

    def ask(self, llm: LLM) -> Prompt:
        """What the LLM is asked."""
        with self.clock.stage("prompt"):
            self.prompt = self.prompt_for(llm)
        return self.prompt

    async def write(self, chain: Chain, llm: LLM) -> AsyncGenerator[Token | Cited, None]:
        """What one LLM says and the passages support; what one said that failed is void."""
        if not self.whole:
            self.checker = self.fresh()
        self.whole = False
        said = self.checker.check(llm, self.ask(llm), self.question)
        guard = self.checker.guard
        async with aclosing(self.checker.withheld(said) if guard and guard.whole else said) as events:
            async for event in events:
                yield event
        self.whole = True
        chain.settled = self.checker.declined
