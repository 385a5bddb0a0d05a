"""What the LLMs' tests are handed."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio

from services.generator.checks import evidence
from services.generator.llms import Parts, llamacpp
from services.generator.llms.llamacpp import LlamaCpp
from services.generator.prompt import Prompt
from services.generator.prompts import shipped
from services.generator.prompts.writing import extract
from tests.generator import world


@pytest.fixture
def parts(smollm2: Path) -> Parts:
    """One thread, so that a busy machine cannot make two wait for each other."""
    return Parts(model=lambda _: smollm2, api_key=None, threads=1, timeout_s=120.0)


@pytest_asyncio.fixture
async def smol(parts: Parts) -> AsyncIterator[LlamaCpp]:
    """SmolLM2 with two slots and room for one more."""
    llm = llamacpp.load(parts, slots=2, context=1024, max_waiting=1)
    yield llm
    await llm.close()


@pytest.fixture
def ask() -> Prompt:
    """Which sentence says how long the warranty is."""
    passages = [world.passage("kestrel")]
    template = shipped().choose("", "answer", "extract")
    return extract(template, "How long is the warranty?", evidence.split(passages, 9), 400)


@pytest.fixture
def story() -> Prompt:
    """Something to write about at length."""
    return Prompt("summary", "", "Write a long story about a lake.")
