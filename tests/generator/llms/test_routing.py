"""Several endpoints of one model: who is asked first, who instead, when again, and what that costs."""

from __future__ import annotations

import asyncio
import itertools
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, aclosing
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio
from pydantic import SecretStr

from ragline import context, rates
from ragline.errors import RaglineError, Unavailable
from ragline.settings import SettingsError
from services.generator.llms import Parts, Piece, Usage, openai
from services.generator.llms._endpoints import Place, opened
from services.generator.llms._hedging import LEAST, Hedge
from services.generator.llms._routing import Routes
from services.generator.prompt import Prompt
from tests.servers.faults import Fault, FaultProxy
from tests.servers.llama import LLAMA_KEY, LlamaServer
from tests.servers.redis import RedisServer

pytestmark = pytest.mark.models

KEY = SecretStr(LLAMA_KEY)
ASK = Prompt("summary", "You are brief.", "Write a story about a lake.")
BROKEN, BUSY = Fault("broken"), Fault("busy", retry_after="30")


def parts(counters: rates.Rates | None = None, key: str = "") -> Parts:
    secret = SecretStr(key) if key else None
    return Parts(Path, secret or KEY, threads=1, timeout_s=60.0, rates=counters or rates.LocalRates())


@pytest_asyncio.fixture
async def proxies(llama_server: LlamaServer) -> AsyncIterator[list[FaultProxy]]:
    """Two ways to the same server."""
    async with AsyncExitStack() as stack:
        yield [await stack.enter_async_context(FaultProxy(llama_server.url)) for _ in range(2)]


def llm(proxies: list[FaultProxy], *places: dict[str, Any], **options: Any) -> openai.OpenAI:
    """A model at the proxies, the first before the second unless ``places`` say otherwise."""
    more = places or ({}, {"priority": 1})
    made = [Place(base_url=proxy.url, **each) for proxy, each in zip(proxies, more, strict=True)]
    options = {"max_retries": 0, **options}
    return openai.load(options.pop("parts", parts()), model="smol", endpoints=made, **options)


async def pieces(model: openai.OpenAI, max_tokens: int = 2) -> list[Piece]:
    async with aclosing(model.generate(ASK, max_tokens=max_tokens, temperature=0)) as got:
        return [piece async for piece in got]


async def failure(model: openai.OpenAI) -> RaglineError:
    with pytest.raises(RaglineError) as raised:
        await pieces(model)
    return raised.value


def open_breakers(model: openai.OpenAI) -> int:
    return sum(not endpoint.breaker.closed for endpoint in model.routes.endpoints)


async def test_reserved_capacity_first_then_the_next(proxies: list[FaultProxy]) -> None:
    model = llm(proxies, {"requests_per_minute": 2}, {"priority": 1})
    for _ in range(3):
        await pieces(model)
    assert [proxy.asked for proxy in proxies] == [2, 1]
    await model.close()


async def test_tokens_a_minute_are_kept(proxies: list[FaultProxy]) -> None:
    model = llm(proxies, {"tokens_per_minute": 60}, {"priority": 1})
    for _ in range(3):
        await pieces(model)
    assert proxies[0].asked < 3
    assert sum(proxy.asked for proxy in proxies) == 3
    await model.close()


@pytest.mark.parametrize(
    "fault", [Fault("dropped"), BROKEN, BUSY, Fault("denied"), Fault("page"), Fault("garbage")]
)
async def test_the_next_takes_over_before_the_first_word(proxies: list[FaultProxy], fault: Fault) -> None:
    model = llm(proxies)
    proxies[0].fault = fault
    assert (await pieces(model))[-1].finish == "length"
    assert (await pieces(model))[-1].finish == "length"
    assert [proxy.asked for proxy in proxies] == [1, 2]  # who failed a moment ago is not asked first
    await model.close()


def test_weights_share_the_requests_of_a_priority() -> None:
    places = [Place(base_url=f"http://{name}.test/v1", weight=weight) for name, weight in (("a", 3), ("b", 1))]
    places.append(Place(base_url="http://c.test/v1", priority=1, weight=1000))
    routes = Routes("m", opened(places, "m", parts()), Hedge(None), 0, 0)
    routes.random.seed(7)
    drawn = [[endpoint.name for endpoint in routes.ordered()] for _ in range(2000)]
    first = Counter(order[0] for order in drawn)
    assert 1400 < first["a.test"] < 1600
    assert {order[-1] for order in drawn} == {"c.test"}


async def test_a_busy_server_is_waited_for_as_it_asks(proxies: list[FaultProxy]) -> None:
    model = llm(proxies[:1], {}, max_retries=1)
    proxies[0].faults = [Fault("busy", retry_after="1")]
    assert (await pieces(model))[-1].usage
    assert proxies[0].asked == 2
    await model.close()


async def test_a_pause_that_is_too_long_is_not_waited_for(proxies: list[FaultProxy]) -> None:
    model = llm(proxies[:1], {}, max_retries=5)
    proxies[0].fault = BUSY
    error = await failure(model)
    assert isinstance(error, Unavailable)
    assert error.retry_after_s == 30
    assert proxies[0].asked == 1
    await failure(model)
    assert proxies[0].asked == 1  # nor is it asked before it said
    await model.close()


async def test_no_pause_goes_beyond_the_deadline(proxies: list[FaultProxy]) -> None:
    model = llm(proxies[:1], {}, max_retries=5, longest_wait_s=100)
    proxies[0].fault = BUSY
    with context.bind(timeout_s=20):
        assert isinstance(await failure(model), Unavailable)
    assert proxies[0].asked == 1
    await model.close()


async def test_tries_again_with_jitter(proxies: list[FaultProxy]) -> None:
    model = llm(proxies[:1], {}, max_retries=2)
    proxies[0].faults = [BROKEN, BROKEN]
    assert (await pieces(model))[-1].usage
    assert proxies[0].asked == 3
    proxies[0].faults = [BROKEN] * 3
    assert "status 500" in (await failure(model)).detail
    await model.close()


async def test_the_breaker_opens_and_closes(proxies: list[FaultProxy]) -> None:
    model = llm(proxies[:1], {})
    proxies[0].faults = [BROKEN] * 5
    for _ in range(5):
        await failure(model)
    assert "away lately" in (await failure(model)).detail
    assert proxies[0].asked == 5
    breaker = model.routes.endpoints[0].breaker
    breaker.until = 0.0  # the pause is over
    await pieces(model)
    assert breaker.closed
    await model.close()


async def test_a_caller_in_a_hurry_blames_nobody(proxies: list[FaultProxy]) -> None:
    model = llm(proxies[:1], {})
    proxies[0].fault = Fault("hang")
    for _ in range(6):
        with context.bind(timeout_s=0.2):
            await failure(model)
    assert open_breakers(model) == 0
    model.first_token_s = 0.1
    for _ in range(5):
        await failure(model)
    assert open_breakers(model) == 1
    await model.close()


async def test_who_is_slow_to_speak_is_overtaken(proxies: list[FaultProxy]) -> None:
    prices = {"price_in": 1_000_000.0}
    model = llm(proxies, prices, prices | {"priority": 1}, hedge_quantile=0.9)
    model.routes.hedge.seen_s.extend(itertools.repeat(0.01, LEAST))
    proxies[0].fault = Fault("hang")
    said = await pieces(model)
    await proxies[0].left.wait()  # its connection was closed
    usage = said[-1].usage
    assert usage is not None
    assert usage.cost > usage.prompt_tokens  # both were asked
    assert [proxy.asked for proxy in proxies] == [1, 1]
    assert all(endpoint.breaker.closed and not endpoint.breaker.trying for endpoint in model.routes.endpoints)
    await model.close()


async def test_leaving_early_closes_both(proxies: list[FaultProxy]) -> None:
    model = llm(proxies, hedge_quantile=0.9)
    model.routes.hedge.seen_s.extend(itertools.repeat(0.01, LEAST))
    for proxy in proxies:
        proxy.fault = Fault("hang")
    waiting = asyncio.create_task(pieces(model))
    await asyncio.gather(*(proxy.hanging.wait() for proxy in proxies))
    waiting.cancel()
    await asyncio.wait([waiting])
    await asyncio.gather(*(proxy.left.wait() for proxy in proxies))
    assert model.slots.free == model.slots.count
    await model.close()


async def test_replicas_share_their_limits(proxies: list[FaultProxy], redis_server: RedisServer) -> None:
    url = f"{redis_server.url}?prefix=llm-limits:"
    shared = [rates.open(url), rates.open(url)]
    models = [llm(proxies, {"requests_per_minute": 1, "name": "one"}, {}, parts=parts(each)) for each in shared]
    proxies[1].fault = BROKEN
    for model in models:
        model.routes.random.seed(1)
        model.routes.endpoints[1].resting_until = float("inf")
    await pieces(models[0])
    assert "500" in (await failure(models[1])).detail
    assert [proxy.asked for proxy in proxies] == [1, 1]
    for model, each in zip(models, shared, strict=True):
        await model.close()
        await each.close()


async def test_each_place_has_its_own_key_model_and_headers(proxies: list[FaultProxy], tmp_path: Path) -> None:
    (tmp_path / "key").write_text("from-a-file\n")
    first = {"key_file": tmp_path / "key", "headers": {"x-team": "docs"}, "query": {"a": "b"}}
    azure = {"priority": 1, "api_version": "2024-10-21", "model": "smol-deployment"}
    model = llm(proxies, first, azure, parts=parts(key="shared"))
    proxies[0].fault = proxies[1].fault = Fault("denied")
    assert "key, model or base_url" in (await failure(model)).detail
    heads = [proxy.heads[0].lower() for proxy in proxies]
    assert "post /v1/chat/completions?a=b " in heads[0]
    assert "authorization: bearer from-a-file" in heads[0]
    assert "x-team: docs" in heads[0]
    assert "/openai/deployments/smol-deployment/chat/completions?api-version=2024-10-21 " in heads[1]
    assert "api-key: shared" in heads[1]
    assert "authorization:" not in heads[1]
    await model.close()


def test_prices() -> None:
    place = Place(price_in=0.5, price_out=2.0)
    assert opened([place], "m", parts())[0].cost(Usage(1_000_000, 500_000)) == 1.5


@pytest.mark.parametrize(
    "options",
    [
        {"endpoints": []},
        {"base_url": "http://a.test/v1", "endpoints": [Place()]},
        {"endpoints": [Place(name="a"), Place(name="a")]},
        {"endpoints": [Place(key_file=Path("/nowhere"))]},
    ],
)
def test_bad_endpoints_stop_the_start(options: dict[str, Any]) -> None:
    with pytest.raises(SettingsError):
        openai.load(parts(), model="m", **options)
