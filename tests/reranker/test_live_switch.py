"""Scorers are switched, and broken ones refused, while requests come in by REST and gRPC: none of them notices."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import httpx
import pytest

from ragline import grpc_client
from ragline.v1 import reranker_pb2, reranker_pb2_grpc
from tests.reranker.process import RerankerProcess

pytestmark = [pytest.mark.models, pytest.mark.stack]

ASKED = [
    ("How is a lost message retried?", ["The office opens at nine.", "A lost message is sent again.", "Nine."]),
    ("When does the office open?", ["The office opens at nine.", "A lost message is sent again.", "Nine."]),
    (
        "torque of the front wheel bolts",
        ["Tighten to 120 Nm.", "The wheel is round.", "Front wheel bolts: 120 Nm."],
    ),
]
BROKEN = {
    "Guessing": (400, "puts the right passage first"),
    "NotNumbers": (400, "gives nan"),
    "TooFew": (400, "5 scores for 7"),
    "Hungry": (503, "not enough memory"),
    "FailsToStart": (400, "no such device"),
    "Hanging": (503, "RERANKER_LOAD_TIMEOUT_S"),
}
NEAR = 1e-3
PAUSE_S = 0.03  # between two requests of a client: many are asked, and the machine has other work

Scores = dict[int, float]


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory, minilm: Path) -> Iterator[RerankerProcess]:
    folder = tmp_path_factory.mktemp("reranker")
    settings = {
        "models_dir": str(minilm.parent),
        "hold_s": 0,
        "budget_s": 60,
        "scores_url": "",
        "load_timeout_s": 10,
    }
    with RerankerProcess(folder, **settings) as process:
        yield process


def orders(classifier: Path) -> dict[str, dict[str, Any]]:
    options = {"model": str(classifier), "runtime": "onnxruntime"}
    return {
        "overlap": {"scorer": "overlap"},
        "cross_encoder": {"scorer": "cross_encoder", "options": options, "probe": False},  # its weights are random
        "late_interaction": {"scorer": "late_interaction"},
    }


@dataclass
class Traffic:
    """What clients got that asked all the time."""

    answers: list[tuple[int, str, Scores]] = field(default_factory=list)
    faults: list[str] = field(default_factory=list)

    def counted(self) -> int:
        return len(self.answers)


async def by_rest(client: httpx.AsyncClient, traffic: Traffic) -> None:
    number = 0
    while True:
        number = (number + 1) % len(ASKED)
        query, passages = ASKED[number]
        answer = await client.post("/rerank", json={"query": query, "passages": passages})
        body = answer.json()
        if answer.status_code != 200 or body.get("degraded"):
            traffic.faults.append(answer.text)
            return
        traffic.answers.append((number, body["scorer"], {each["index"]: each["raw"] for each in body["results"]}))
        await asyncio.sleep(PAUSE_S)


async def by_grpc(stub: reranker_pb2_grpc.RerankerAsyncStub, traffic: Traffic) -> None:
    number = 0
    while True:
        number = (number + 1) % len(ASKED)
        query, passages = ASKED[number]
        candidates = [reranker_pb2.Candidate(text=text) for text in passages]
        request = reranker_pb2.RerankRequest(query=query, candidates=candidates)
        answer = await grpc_client.call(stub.Rerank, request, timeout_s=120)
        if answer.degraded:
            traffic.faults.append(str(answer))
            return
        traffic.answers.append((number, answer.scorer, {each.index: each.raw for each in answer.scores}))
        await asyncio.sleep(PAUSE_S)


@asynccontextmanager
async def traffic_to(running: RerankerProcess) -> AsyncIterator[tuple[httpx.AsyncClient, Traffic]]:
    """Four clients that ask all the time; what any of them raises is raised in the end."""
    traffic = Traffic()
    async with (
        httpx.AsyncClient(base_url=running.url, timeout=120) as client,
        grpc_client.channel(running.grpc, max_message_mb=8) as channel,
    ):
        stub = reranker_pb2_grpc.RerankerStub(channel)
        asking = [
            by_rest(client, traffic),
            by_rest(client, traffic),
            by_grpc(stub, traffic),
            by_grpc(stub, traffic),
        ]
        tasks = [asyncio.create_task(each) for each in asking]
        try:
            yield client, traffic
            await more(traffic)
        finally:
            for task in tasks:
                task.cancel()
            ended = await asyncio.gather(*tasks, return_exceptions=True)
        assert traffic.faults == []
        assert [each for each in ended if not isinstance(each, asyncio.CancelledError)] == []


async def more(traffic: Traffic) -> None:
    """Wait until each client has asked at least once more."""
    before = traffic.counted()
    await until(lambda: traffic.counted() >= before + 8 or bool(traffic.faults))


async def until(done: Callable[[], bool]) -> None:
    """Wait for what others do."""
    async with asyncio.timeout(60):
        while not done():  # noqa: ASYNC110 - nothing tells when
            await asyncio.sleep(0.005)


async def use(client: httpx.AsyncClient, order: dict[str, Any]) -> dict[str, Any]:
    answer = await client.post("/admin/reranker", json=order)
    assert answer.status_code == 200, answer.text
    done: dict[str, Any] = answer.json()
    return done


async def alone(client: httpx.AsyncClient) -> list[Scores]:
    """What the serving scorer says while nobody else asks."""
    found = []
    for query, passages in ASKED:
        body = (await client.post("/rerank", json={"query": query, "passages": passages})).json()
        found.append({each["index"]: each["raw"] for each in body["results"]})
    return found


def near(one: Scores, other: Scores) -> bool:
    return one.keys() == other.keys() and all(abs(one[index] - other[index]) < NEAR for index in one)


async def test_switches_back_and_forth(running: RerankerProcess, classifier: Path) -> None:
    wanted = orders(classifier)
    async with httpx.AsyncClient(base_url=running.url, timeout=120) as client:
        said = {}
        for name in ("overlap", "cross_encoder", "late_interaction"):
            await use(client, wanted[name])
            said[name] = await alone(client)
    async with traffic_to(running) as (client, traffic):
        for _ in range(5):
            for name in ("overlap", "cross_encoder", "late_interaction"):
                assert (await use(client, wanted[name] | {"probe": False}))["name"] == name
                await more(traffic)
    for number, name, scores in traffic.answers:
        assert [each for each in said if near(scores, said[each][number])] == [name]
    assert {name for _, name, _ in traffic.answers} == set(wanted)


async def test_broken_candidates_harm_no_request(running: RerankerProcess, tmp_path: Path) -> None:
    async with traffic_to(running) as (client, traffic):
        before = (await client.get("/admin/reranker")).json()
        for name, (status, says) in BROKEN.items():
            body = {"scorer": f"tests.reranker.broken:{name}"}
            answer = await client.post("/admin/reranker", json=body)
            assert answer.status_code == status, answer.text
            assert says in answer.json()["detail"]
            await more(traffic)
        missing = {"scorer": "cross_encoder", "options": {"model": str(tmp_path / "nowhere")}}
        assert (await client.post("/admin/reranker", json=missing)).status_code == 400
        after = (await client.get("/admin/reranker")).json()
    assert after["serving"] == before["serving"]
    assert after["others"] == before["others"]
    assert [event["outcome"] for event in after["history"][: len(BROKEN) + 1]] == ["refused"] * (len(BROKEN) + 1)
    assert {name for _, name, _ in traffic.answers} == {before["serving"]["name"]}


async def test_memory_is_that_of_one_model_after_a_switch(running: RerankerProcess) -> None:
    async with httpx.AsyncClient(base_url=running.url, timeout=120) as client:
        await use(client, {"scorer": "late_interaction", "name": "first"})
        await settled(client)
        one = running.memory()
        for name in ("second", "third"):
            await use(client, {"scorer": "late_interaction", "name": name})
            await settled(client)
            peak = running.memory("VmHWM")
            assert peak > one * 1.2
            await until(partial(below, running, (one + peak) / 2))


def below(running: RerankerProcess, limit: float) -> bool:
    return running.memory() < limit


async def settled(client: httpx.AsyncClient) -> None:
    """Wait until only one scorer is loaded."""
    async with asyncio.timeout(30):
        while (state := (await client.get("/admin/reranker")).json())["others"] or state["draining"]:  # noqa: ASYNC110
            await asyncio.sleep(0.05)
