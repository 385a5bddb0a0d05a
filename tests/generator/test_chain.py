"""Who stands in for an LLM that fails, in which order, and what is made of what it said."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing

import pytest

from ragline import context, metrics
from ragline.errors import InvalidRequest, Overloaded, RaglineError, TooLarge, Unavailable
from ragline.rates import LocalRates
from ragline.settings import SettingsError
from services.generator.accounting import Counted, Tenants, counted
from services.generator.chain import Chain, Named
from services.generator.events import Anew
from services.generator.lineup import load_llms
from services.generator.llms import LLM, Cut, Piece, Usage
from services.generator.llms.extractive import Extractive
from services.generator.prompt import Prompt
from services.generator.prompts.writing import Counting
from services.generator.settings import Settings

ASK = Prompt("summary", "", "Say something about lakes.")


class Voice(Extractive):
    """Says its name ``times`` times, then fails with each of ``errors`` in turn, or ends; hangs with ``hangs``."""

    def __init__(self, name: str, *errors: RaglineError, times: int = 1, hangs: bool = False) -> None:
        super().__init__()
        self.name = name
        self.errors = list(errors)
        self.times = times
        self.hangs = hangs

    async def generate(
        self, prompt: Prompt, *, max_tokens: int, temperature: float
    ) -> AsyncGenerator[Piece, None]:
        for _ in range(self.times):
            yield Piece(self.name)
        if self.hangs:
            await asyncio.Event().wait()
        if self.errors:
            raise self.errors.pop(0)
        yield Piece(usage=Usage(3, 2, 0.5))


async def said(chain: Chain) -> list[str]:
    async def attempt(llm: LLM) -> AsyncGenerator[str, None]:
        async with aclosing(llm.generate(ASK, max_tokens=9, temperature=0)) as pieces:
            async for piece in pieces:
                if piece.text:
                    yield piece.text

    async with aclosing(chain.write(attempt)) as events:
        return ["anew" if isinstance(event, Anew) else event async for event in events]


def chain(*voices: Voice, timeout_s: float = 60.0) -> Chain:
    return Chain([Named(voice.name, voice) for voice in (*voices, Voice("last"))], timeout_s)


async def test_the_first_that_can_writes() -> None:
    made = chain(Voice("a", Unavailable("away"), times=0), Voice("b"), Voice("c"))
    assert await said(made) == ["b"]
    assert made.degraded == ("llm:a",)


async def test_the_last_writes_where_all_fail() -> None:
    made = chain(Voice("a", Unavailable("away"), times=0), Voice("b", Unavailable("away")))
    assert await said(made) == ["b", "anew", "last"]
    assert made.degraded == ("llm", "llm:a", "llm:b")


async def test_what_broke_off_is_tried_once_more_and_then_elsewhere() -> None:
    made = chain(Voice("a", Cut("cut")))
    assert await said(made) == ["a", "anew", "a"]
    assert made.degraded == ()
    made = chain(Voice("a", Cut("cut"), Cut("cut")), Voice("b"))
    assert await said(made) == ["a", "anew", "a", "anew", "b"]
    assert made.degraded == ("llm:a",)


async def test_who_has_nothing_to_say_is_no_failure() -> None:
    made = chain(Voice("a", times=0), Voice("b"))
    assert await said(made) == ["last"]
    assert made.degraded == ()
    made = chain(Voice("a", times=0))
    made.settled = True
    assert await said(made) == []


@pytest.mark.parametrize("error", [Overloaded("full"), TooLarge("long")])
async def test_what_only_another_llm_mends(error: RaglineError) -> None:
    made = chain(Voice("a", error, times=0), Voice("b"))
    assert await said(made) == ["b"]
    with pytest.raises(type(error)):
        await said(chain(Voice("a", error, times=0)))


async def test_a_wrong_request_is_told() -> None:
    with pytest.raises(InvalidRequest):
        await said(chain(Voice("a", InvalidRequest("no"), times=0), Voice("b")))


async def test_the_time_is_for_all_together() -> None:
    made = chain(Voice("a", times=0, hangs=True), Voice("b"), timeout_s=0.2)
    assert await said(made) == ["last"]
    assert made.degraded == ("llm", "llm:a", "llm:b")


async def test_something_of_the_deadline_is_left_for_the_last() -> None:
    with context.bind(timeout_s=0.5):
        made = chain(Voice("a", hangs=True))
        assert await said(made) == ["a", "anew", "last"]
        assert context.remaining_s(1.0) > 0


async def test_texts_are_counted_for_tenants_up_to_a_bound() -> None:
    tenants = Tenants(1)
    for tenant in ("chain-first", "chain-second", "chain-third"):
        with context.bind(caller=context.Caller(tenant)):
            await said(chain_of(Counted(Voice("chain-voice"), tenants)))
    page = (await metrics.page())[0].decode()
    assert 'ragline_llm_tokens_total{direction="in",model="chain-voice",tenant="chain-first"} 3.0' in page
    assert 'ragline_llm_cost_total{model="chain-voice",tenant="other"} 1.0' in page
    assert "chain-second" not in page


class Counts(Voice):
    async def count_tokens(self, texts: Sequence[str]) -> list[int]:
        return [len(text) for text in texts]


async def test_who_can_count_tokens_still_can() -> None:
    made = counted(Counts("counts"), Tenants(1))
    assert isinstance(made, Counting)
    assert await made.count_tokens(["four"]) == [4]
    assert not isinstance(counted(Voice("counts"), Tenants(1)), Counting)


async def test_a_text_that_nobody_waits_for_is_estimated() -> None:
    counted = Counted(Voice("left-voice", times=5, hangs=True), Tenants(1))
    pieces = counted.generate(ASK, max_tokens=9, temperature=0)
    await anext(pieces)
    await pieces.aclose()
    page = (await metrics.page())[0].decode()
    assert 'ragline_llm_texts_total{model="left-voice",outcome="left"} 1.0' in page
    assert 'ragline_llm_tokens_total{direction="out",model="left-voice"' in page


def chain_of(llm: LLM) -> Chain:
    return Chain([Named(llm.name, llm), Named("last", Voice("last"))], 60.0)


async def test_the_settings_name_who_writes() -> None:
    spare = {"spare": {"llm": "openai", "options": {"model": "m", "base_url": "http://127.0.0.1:1/v1"}}}
    loaded = load_llms(Settings(llms=spare, llm_fallbacks=["spare"]), LocalRates())
    assert loaded.roster.names == ["extractive", "spare"]
    assert [named.name for named in loaded.roster.line()] == ["extractive"]
    assert [named.name for named in loaded.roster.line("spare")] == ["spare", "extractive"]
    await loaded.close()
    loaded = load_llms(Settings(llm="spare", llms=spare), LocalRates())
    assert loaded.roster.default.name == "m"
    await loaded.close()


@pytest.mark.parametrize(
    ("values", "says"),
    [
        ({"llm_fallbacks": ["nobody"]}, "'nobody', which is none of GENERATOR_LLMS"),
        ({"llms": {"extractive": {"llm": "extractive"}}}, "choose another name"),
        ({"llm": "a", "llms": {"a": {"llm": "extractive"}}, "llm_options": {"margin": 0}}, "GENERATOR_LLM"),
    ],
)
def test_bad_names_stop_the_start(values: dict[str, object], says: str) -> None:
    with pytest.raises(SettingsError, match=says):
        load_llms(Settings.model_validate(values), LocalRates())
