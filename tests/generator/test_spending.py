"""What a request says it took is all that LLMs read and wrote for it, whatever door it came through."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import grpc
import httpx
import pytest
import pytest_asyncio
from fastapi import FastAPI
from pydantic import SecretStr

import ragline.cache
import ragline.entries
from ragline import grpc_client
from ragline.http import create_app
from ragline.metrics import REGISTRY
from ragline.v1 import generator_pb2, generator_pb2_grpc
from services.generator import api, rpc
from services.generator.accounting import Counted, Tenants
from services.generator.answer import Answerer
from services.generator.batches.storage import Storage
from services.generator.conversations.conversation import Conversations
from services.generator.conversations.sessions import Sessions
from services.generator.conversations.standalone import Standalone
from services.generator.events import Question
from services.generator.expansion import Expansions
from services.generator.llms import LLM, Parts, openai
from services.generator.llms._endpoints import Place
from services.generator.prompts import shipped
from services.generator.steps import Steps
from tests.generator import world
from tests.generator.batches import places
from tests.generator.dialects.place import LIMITS, serving
from tests.generator.outages import parsed
from tests.servers.llama import LlamaServer

TURNS = [{"question": "How many inhabitants has Brell?", "answer": "4,200."}]
ASKED: dict[str, Any] = {"query": "Who is its mayor?", "turns": TURNS, "top_k": 1, "max_tokens": 16}
PRICE_IN, PRICE_OUT = 1.0, 2.0  # for a million tokens


@dataclass(frozen=True)
class Took:
    """Tokens read and written, and their cost."""

    prompt_tokens: float
    completion_tokens: float
    cost: float

    def __sub__(self, other: Took) -> Took:
        return Took(
            self.prompt_tokens - other.prompt_tokens,
            self.completion_tokens - other.completion_tokens,
            self.cost - other.cost,
        )


def counted(model: str = "spent") -> Took:
    """What the metrics say that the model took for the tenant so far."""
    by = {"tenant": "default", "model": model}
    tokens = [
        REGISTRY.get_sample_value("ragline_llm_tokens_total", {**by, "direction": direction}) or 0.0
        for direction in ("in", "out")
    ]
    return Took(tokens[0], tokens[1], REGISTRY.get_sample_value("ragline_llm_cost_total", by) or 0.0)


def told(usage: dict[str, Any], cost: float | None = None) -> Took:
    """What a response says that it took."""
    return Took(usage["prompt_tokens"], usage["completion_tokens"], usage["cost"] if cost is None else cost)


def agree(one: Took, other: Took) -> None:
    """Both are the same, and not nothing."""
    assert (one.prompt_tokens, one.completion_tokens) == (other.prompt_tokens, other.completion_tokens)
    assert one.cost == pytest.approx(other.cost)
    assert one.cost == pytest.approx((one.prompt_tokens * PRICE_IN + one.completion_tokens * PRICE_OUT) / 1e6)
    assert one.prompt_tokens > 0


@pytest_asyncio.fixture
async def llm(llama_server: LlamaServer) -> AsyncIterator[LLM]:
    """SmolLM2 behind a server that is paid, counted as in production."""
    parts = Parts(Path, SecretStr(llama_server.key), threads=1, timeout_s=60.0)
    places = [Place(base_url=llama_server.url, price_in=PRICE_IN, price_out=PRICE_OUT)]
    made = openai.load(parts, model="spent", endpoints=places, context=2048)
    yield Counted(made, Tenants(1))
    await made.close()


@pytest_asyncio.fixture
async def steps(llm: LLM, tmp_path: Path) -> AsyncIterator[Steps]:
    """Rewriting and other wordings by the LLM."""

    def writer(question: Question) -> LLM:
        return llm

    entries = ragline.entries.open(f"sqlite://{tmp_path / 'sessions.db'}")
    standalone = Standalone(writer, shipped(), "llm", 60.0)
    yield Steps(
        conversation=Conversations(Sessions(entries, 3600.0, 10), standalone, 10),
        expansion=Expansions(writer, shipped(), "llm", 60.0),
    )
    await entries.close()


@pytest.fixture
def answerer(retriever: grpc.aio.Channel, llm: LLM, steps: Steps) -> Answerer:
    made = world.answerer(retriever, None, llm=llm, cache=ragline.cache.open("memory://"))
    made.steps = steps
    return made


@pytest.fixture
def app(answerer: Answerer, retriever: grpc.aio.Channel) -> FastAPI:
    routes = api.router(answerer, world.summarizer(retriever), LIMITS, max_documents=3)
    return create_app("generator", [routes], checks={})


@pytest_asyncio.fixture
async def client(app: FastAPI) -> AsyncIterator[httpx.AsyncClient]:
    transport = httpx.ASGITransport(app)
    async with httpx.AsyncClient(transport=transport, base_url="http://generator", timeout=120) as opened:
        yield opened


async def test_rewriting_and_other_wordings_are_part_of_it(client: httpx.AsyncClient) -> None:
    before = counted()
    answer = (await client.post("/generate", json={**ASKED, "expand": 1, "explain": True})).json()
    agree(told(answer["usage"]), counted() - before)
    stages = answer["explain"]["usage"]
    assert set(stages) == {"rewrite", "expand", "generate"}
    assert all(each["prompt_tokens"] > 0 for each in stages.values())
    for name in ("prompt_tokens", "completion_tokens"):
        assert sum(each[name] for each in stages.values()) == answer["usage"][name]


async def test_a_kept_answer_took_what_came_before_it(client: httpx.AsyncClient) -> None:
    first = (await client.post("/generate", json=ASKED)).json()
    before = counted()
    streamed = await client.post("/generate", json={**ASKED, "stream": True})
    events = dict(parsed(streamed.text))
    assert (first["cached"], events["done"]["cached"]) == (False, True)
    agree(told(events["usage"]), counted() - before)
    assert events["usage"] == events["done"]["usage"]
    assert 0 < events["usage"]["prompt_tokens"] < first["usage"]["prompt_tokens"]


async def test_a_try_that_ran_out_of_time(retriever: grpc.aio.Channel) -> None:
    """What it said is void, and was written all the same."""
    reciter = world.Reciter(pauses_after=2)
    made = world.answerer(retriever, None, llm=Counted(reciter, Tenants(1)))
    made.llms = world.roster(Counted(reciter, Tenants(1)), timeout_s=1.0)
    before = counted(reciter.name)
    done = await made.answer(Question("default", "default", "Who is the mayor of Brell?", 5, 100))
    assert done.outcome.degraded == ("llm", "llm:reciter")
    took = counted(reciter.name) - before
    assert took.completion_tokens > 0
    assert (done.outcome.usage.prompt_tokens, done.outcome.usage.completion_tokens) == (
        took.prompt_tokens,
        took.completion_tokens,
    )


async def test_over_grpc(answerer: Answerer) -> None:
    turns = [generator_pb2.Turn(**turn) for turn in TURNS]
    request = generator_pb2.AnswerRequest(
        tenant="default", query=ASKED["query"], turns=turns, top_k=1, max_tokens=16
    )
    before = counted()
    async with world.serving(rpc.add(answerer, LIMITS)) as door:
        stub = generator_pb2_grpc.GeneratorStub(door)
        events = [event async for event in grpc_client.stream(stub.Answer, request, timeout_s=120)]
    [usage] = [each.usage for each in events if each.WhichOneof("event") == "usage"]
    agree(Took(usage.prompt_tokens, usage.completion_tokens, usage.cost), counted() - before)


async def test_for_clients_of_openai(retriever: grpc.aio.Channel, llm: LLM, steps: Steps) -> None:
    messages: list[Any] = [
        {"role": "user", "content": TURNS[0]["question"]},
        {"role": "assistant", "content": TURNS[0]["answer"]},
        {"role": "user", "content": ASKED["query"]},
    ]
    before = counted()
    async with serving(retriever, llm=llm, steps=steps) as served:
        answer = await served.openai(timeout=120).chat.completions.create(
            model="ragline", messages=messages, max_tokens=16, extra_body={"ragline": {"top_k": 1}}
        )
    usage = answer.usage
    assert usage is not None
    assert answer.model_extra is not None
    agree(told(usage.model_dump(), answer.model_extra["ragline"]["cost"]), counted() - before)
    assert usage.total_tokens == usage.prompt_tokens + usage.completion_tokens


class Door:
    """The doors of this generator, where batches look for them."""

    def __init__(self, app: FastAPI) -> None:
        self.door: Callable[[], FastAPI] = lambda: app


async def test_in_a_batch(app: FastAPI, tmp_path: Path) -> None:
    line = {"custom_id": "one", "method": "POST", "url": "/v1/generate", "body": ASKED}
    async with places.sqlite(tmp_path) as broker:
        place = places.Place(Storage(tmp_path.as_uri(), "GENERATOR_BATCH_URL"), broker)
        place.till = Door(app)  # type: ignore[assignment]
        before = counted()
        batch = await place.accept(json.dumps(line).encode() + b"\n")
        async with place.working():
            await place.ended(batch)
        [result] = place.results(batch)
        agree(told(result["body"]["usage"]), counted() - before)
