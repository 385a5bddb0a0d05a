"""SmolLM2 in this process, for real."""

import asyncio
from contextlib import aclosing
from dataclasses import replace
from pathlib import Path

import httpx
import pytest

from ragline.errors import Overloaded, TimedOut, TooLarge, Unavailable
from ragline.settings import SettingsError
from services.generator.llms import Parts, llamacpp
from services.generator.llms.llamacpp import Copying, LlamaCpp
from services.generator.prompt import Prompt

pytestmark = pytest.mark.models


async def text(llm: LlamaCpp, prompt: Prompt, max_tokens: int = 60) -> str:
    async with aclosing(llm.generate(prompt, max_tokens=max_tokens, temperature=0)) as pieces:
        return "".join([piece.text async for piece in pieces])


async def test_copies_a_sentence_and_counts_tokens(smol: LlamaCpp, ask: Prompt) -> None:
    async with aclosing(smol.generate(ask, max_tokens=60, temperature=0)) as pieces:
        got = [piece async for piece in pieces]
    assert "".join(piece.text for piece in got)
    usage = got[-1].usage
    assert usage is not None
    assert usage.prompt_tokens > 50
    assert 0 < usage.completion_tokens <= 60


async def test_writes_in_pieces_and_the_loop_stays_free(smol: LlamaCpp, story: Prompt) -> None:
    turns = 0

    async def turn() -> None:
        nonlocal turns
        while True:
            turns += 1
            await asyncio.sleep(0)

    task = asyncio.create_task(turn())
    async with aclosing(smol.generate(story, max_tokens=20, temperature=0)) as pieces:
        got = [piece async for piece in pieces]
    task.cancel()
    assert len([piece for piece in got if piece.text]) > 10
    assert turns > 100


async def test_several_at_once_say_what_each_says_alone(smol: LlamaCpp, story: Prompt) -> None:
    other = replace(story, user="Name three colours.")
    alone = [await text(smol, each, 12) for each in (story, other)]
    assert all(alone)
    together = await asyncio.gather(text(smol, story, 12), text(smol, other, 12))
    assert [each[:10] for each in together] == [each[:10] for each in alone]


async def test_one_too_many_is_refused(smol: LlamaCpp, story: Prompt) -> None:
    running = [smol.generate(story, max_tokens=900, temperature=0) for _ in range(2)]
    for pieces in running:
        await anext(pieces)
    waiting = asyncio.create_task(text(smol, story, 4))
    while not smol.slots.waiting:  # noqa: ASYNC110 - one turn of the loop
        await asyncio.sleep(0)
    with pytest.raises(Overloaded, match="max_waiting"):
        await text(smol, story)
    for pieces in running:
        await pieces.aclose()
    assert await waiting


async def test_a_prompt_over_the_context_is_too_large(smol: LlamaCpp, story: Prompt) -> None:
    with pytest.raises(TooLarge, match="option context"):
        await text(smol, replace(story, user="water " * 3000))
    assert await text(smol, story, 4)


async def test_time_runs_out(parts: Parts, story: Prompt) -> None:
    llm = llamacpp.load(replace(parts, timeout_s=0.01), slots=1, context=512)
    with pytest.raises(TimedOut, match="GENERATOR_LLM_TIMEOUT_S"):
        await text(llm, story, 400)
    await llm.close()


async def test_its_port_is_shut(smol: LlamaCpp) -> None:
    url: str = smol.server.listening_address
    assert url.startswith("http://127.0.0.1:")
    async with httpx.AsyncClient(base_url=url) as client:
        for path in ("/v1/chat/completions", "/completion", "/tokenize"):
            assert (await client.post(path, json={})).status_code == 401


async def test_closing_it_ends_what_runs_and_what_waits(parts: Parts, story: Prompt) -> None:
    llm = llamacpp.load(parts, slots=1, context=512)
    running = llm.generate(story, max_tokens=400, temperature=0)
    await anext(running)
    waiting = [asyncio.create_task(text(llm, story)) for _ in range(3)]
    while llm.slots.waiting < len(waiting):  # noqa: ASYNC110 - a few turns of the loop
        await asyncio.sleep(0)
    await llm.close()
    for task in waiting:
        with pytest.raises(Unavailable, match="closed"):
            await task
    await running.aclose()


async def test_says_that_the_end_was_cut_off(smol: LlamaCpp, story: Prompt) -> None:
    async with aclosing(smol.generate(story, max_tokens=3, temperature=0)) as pieces:
        assert [piece.finish for piece in [piece async for piece in pieces]][-1] == "length"


async def test_closed_is_unavailable(parts: Parts, story: Prompt) -> None:
    llm = llamacpp.load(parts, slots=1, context=512)
    await llm.check()
    await llm.close()
    with pytest.raises(Unavailable):
        await llm.check()
    with pytest.raises(Unavailable):
        await text(llm, story)


def test_what_is_no_model_stops_the_start(parts: Parts, tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match=r"0 \.gguf files"):
        llamacpp.load(replace(parts, model=lambda _: tmp_path))
    (tmp_path / "broken.gguf").write_bytes(b"GGUF but not really")
    with pytest.raises(SettingsError, match=r"broken\.gguf"):
        llamacpp.load(replace(parts, model=lambda _: tmp_path))


def test_a_sentence_is_chosen_once_it_is_clear(ask: Prompt) -> None:
    copying = Copying(ask)
    assert not copying.chosen("1. The Kestrel router")
    assert not copying.chosen(" comes")
    assert copying.chosen(" with") == "The Kestrel router comes with a two-year warranty."
    assert not Copying(ask).chosen("I do not know what you mean by that")
