"""What llama.cpp still does for a client that has left: at most the token in hand, or one batch of its prompt."""

import asyncio
import re
from collections.abc import AsyncIterator, Callable
from dataclasses import replace
from pathlib import Path

import pytest
import pytest_asyncio

from services.generator.llms import llamacpp
from services.generator.llms._bounds import Slots
from services.generator.llms.llamacpp import BATCH_TOKENS, LlamaCpp
from services.generator.prompt import Prompt

pytestmark = pytest.mark.models

LONG = "A heron stands in the reeds and waits for a fish to come by. " * 100


async def until(ready: Callable[[], bool]) -> None:
    """Wait for a state of the engine."""
    async with asyncio.timeout(60):
        while True:
            if ready():
                return
            await asyncio.sleep(0.001)


class Counted(LlamaCpp):
    """Tells what the engine itself has counted."""

    @property
    def steps(self) -> int:
        """Passes through the model: one a token, or one a batch of a prompt."""
        (figure,) = re.findall(r"^llamacpp:n_decode_total (\d+)", self.server.handle_metrics(), re.MULTILINE)
        return int(figure)

    async def idle(self) -> None:
        """Wait until every slot is free."""
        await until(lambda: self.slots.free == self.slots.count)


@pytest_asyncio.fixture
async def counted(smollm2: Path) -> AsyncIterator[Counted]:
    """SmolLM2 with one slot."""
    params = llamacpp.parameters(llamacpp.weights(smollm2), 2048, 1, 1)
    params.endpoint_metrics = True
    llm = Counted(llamacpp.start(params), "counted", "passages", 2048, Slots(1, 8, "counted"), 120.0)
    yield llm
    await llm.close()


async def test_at_most_the_token_in_hand_is_written(counted: Counted, story: Prompt) -> None:
    pieces = counted.generate(story, max_tokens=900, temperature=0)
    for _ in range(5):
        await anext(pieces)
    before = counted.steps
    await pieces.aclose()
    await counted.idle()
    assert before >= 5
    assert counted.steps <= before + 2  # the one in hand, and one that began before the client left


async def test_who_leaves_during_prefill_gives_the_slot_back(counted: Counted, story: Prompt) -> None:
    before = counted.steps
    long = replace(story, user=LONG)
    asking = asyncio.ensure_future(anext(counted.generate(long, max_tokens=900, temperature=0)))
    await until(lambda: any(request.prompt_tokens for request in counted.running))  # the first batch is through
    (request,) = counted.running
    asking.cancel()
    await asyncio.wait([asking])
    await counted.idle()
    assert request.prompt_tokens > 8 * BATCH_TOKENS
    assert counted.steps <= before + 3


async def test_who_leaves_while_waiting_costs_nothing(counted: Counted, story: Prompt) -> None:
    first = counted.generate(story, max_tokens=900, temperature=0)
    await anext(first)
    waiting = asyncio.ensure_future(anext(counted.generate(story, max_tokens=900, temperature=0)))
    await until(lambda: bool(counted.slots.waiting))
    waiting.cancel()
    await asyncio.wait([waiting])
    assert (counted.slots.waiting, len(counted.running)) == (0, 1)
    await first.aclose()
    await counted.idle()
    assert counted.slots.free == 1
