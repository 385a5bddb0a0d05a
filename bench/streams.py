"""Many streams at once on the embedded LLM: whether each gets its answer, in a fair order, within fixed memory."""

from __future__ import annotations

import asyncio
import json
import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx

from bench.generate import TOWNS, story
from bench.report import Row
from tests.suite import Suite, put

COLLECTION = "streams"
MB = 1024.0
POLL_S = 0.005


@dataclass(frozen=True)
class Plan:
    """How many clients, how long their answers, the LLM's slots and how it is asked."""

    clients: int = 100
    max_tokens: int = 24
    slots: int = 4
    style: str = "passages"
    leaving: int = 4
    timeout_s: float = 1800.0

    @property
    def environment(self) -> dict[str, str]:
        """The settings of the suite."""
        options = {"style": self.style, "slots": self.slots, "max_waiting": 2 * self.clients}
        return {
            "GENERATOR_LLM": "llamacpp",
            "GENERATOR_LLM_OPTIONS": json.dumps(options),
            "GENERATOR_LLM_TIMEOUT_S": str(self.timeout_s),
            "GENERATOR_CACHE_URL": "",
        }


@dataclass
class Told:
    """What one client got, in seconds from its request."""

    passages_s: float = 0.0
    first_s: float = 0.0
    done_s: float = 0.0
    ended: str = ""
    tokens: int = 0
    degraded: list[str] = field(default_factory=list)


def measure(folder: Path, plan: Plan) -> list[Row]:
    """A suite of its own, all clients at once twice, a greedy session beside others, and clients that leave."""
    with Suite(folder, plan.environment) as suite:
        with suite.client() as client:
            put(
                client,
                [{"id": town, "title": town, "text": story(town, n)} for n, town in enumerate(TOWNS)],
                COLLECTION,
            )
        return asyncio.run(rounds(suite, plan))


async def rounds(suite: Suite, plan: Plan) -> list[Row]:
    """All that is measured, one after the other."""
    async with httpx.AsyncClient(
        base_url=suite.url, timeout=plan.timeout_s, limits=httpx.Limits(max_connections=None)
    ) as client:
        await ask(client, body(0, plan))
        began = time.monotonic()
        alone = [await ask(client, body(number, plan)) for number in range(1, 4)]
        rate_alone = sum(told.tokens for told in alone) / (time.monotonic() - began)
        memory = [resident(suite)]
        began = time.monotonic()
        together = await asyncio.gather(*(ask(client, body(100 + number, plan)) for number in range(plan.clients)))
        rate = sum(told.tokens for told in together) / (time.monotonic() - began)
        began = time.monotonic()
        after = [await ask(client, body(number, plan)) for number in range(11, 14)]
        rate_alone = (rate_alone + sum(told.tokens for told in after) / (time.monotonic() - began)) / 2
        memory.append(resident(suite))
        greedy, modest = await beside(client, plan)
        memory.append(resident(suite))
        freed_s = await leave(client, plan, statistics.median(told.done_s for told in alone))
    return [
        *told_rows(together, rate / rate_alone, rate_alone),
        Row(
            "streams: MB that the second 100 add",
            memory[2] - memory[1],
            "≤ 50",
            memory[2] - memory[1] <= 50,
            f"{memory[0]:.0f} MB before, {memory[1]:.0f} and {memory[2]:.0f} after",
        ),
        Row(
            "streams: modest clients' time, share of the greedy session's",
            statistics.median(modest) / statistics.median(greedy),
            "≤ 0.6",
            statistics.median(modest) <= 0.6 * statistics.median(greedy),
            f"{len(modest)} beside {len(greedy)} that were there first",
        ),
        Row(
            "streams: tokens until the slots of clients that left are free",
            freed_s * rate / plan.slots,
            "≤ 3",
            freed_s * rate <= 3 * plan.slots,
            f"{plan.leaving} left, {freed_s * 1000:.0f} ms, the departure over HTTP included",
        ),
    ]


def told_rows(told: Sequence[Told], gain: float, rate_alone: float) -> list[Row]:
    """What the clients got, all at once."""
    done = sorted(each.done_s for each in told)
    first = sorted(each.first_s for each in told)
    whole = sum(each.ended == "done" for each in told)
    by_llm = sum(not each.degraded for each in told)
    even = sum(done) ** 2 / (len(done) * sum(value**2 for value in done))
    shown = at(sorted(each.passages_s for each in told), 0.95)
    detail = f"first sentence p50 {at(first, 0.5):.1f} s, p95 {at(first, 0.95):.1f} s; passages p95 {shown:.1f} s"
    return [
        Row(
            "streams: answers that came whole, of all",
            whole / len(told),
            "= 1",
            whole == len(told),
            f"{by_llm} by the LLM",
        ),
        Row(
            "streams: longest ÷ median time to done",
            done[-1] / at(done, 0.5),
            "≤ 2.5",
            done[-1] <= 2.5 * at(done, 0.5),
            detail,
        ),
        Row("streams: Jain's index of the times to done", even, "≥ 0.7", even >= 0.7, "0.75: one after the other"),
        Row(
            "streams: tokens a second, all at once ÷ one",
            gain,
            "≥ 1",
            gain >= 1,
            f"one: {rate_alone:.1f} tokens/s",
        ),
    ]


def at(ordered: Sequence[float], share: float) -> float:
    """A quantile."""
    return ordered[min(len(ordered) - 1, int(share * len(ordered)))]


async def beside(client: httpx.AsyncClient, plan: Plan) -> tuple[list[float], list[float]]:
    """Times of a session with nine tenths of the requests, and of those that come just after it."""
    most = plan.clients * 9 // 10
    greedy = [
        asyncio.create_task(ask(client, body(300 + number, plan) | {"session_id": "greedy"}))
        for number in range(most)
    ]
    await until(client, lambda busy, waiting: busy + waiting >= most)
    modest = [asyncio.create_task(ask(client, body(500 + number, plan))) for number in range(plan.clients - most)]
    first, second = await asyncio.gather(asyncio.gather(*greedy), asyncio.gather(*modest))
    return [told.done_s for told in first], [told.done_s for told in second]


async def leave(client: httpx.AsyncClient, plan: Plan, alone_s: float) -> float:
    """Seconds until no slot is taken after all clients have left in the middle of their answers."""
    tasks = [
        asyncio.create_task(ask(client, body(700 + number, plan) | {"max_tokens": 512}))
        for number in range(plan.leaving)
    ]
    await until(client, lambda busy, waiting: busy + waiting >= plan.leaving)
    await asyncio.sleep(plan.leaving * alone_s)  # their prompts are read, and their answers begun
    for task in tasks:
        task.cancel()
    began = time.monotonic()
    await asyncio.gather(*tasks, return_exceptions=True)
    await until(client, lambda busy, waiting: busy + waiting == 0)
    return time.monotonic() - began


def body(number: int, plan: Plan) -> dict[str, Any]:
    """A question that no other client asks."""
    town = TOWNS[number % len(TOWNS)]
    return {
        "query": f"Tell me about the town of {town}: the boats in its harbour, in year {1000 + number}?",
        "collection": COLLECTION,
        "top_k": 1,
        "max_tokens": plan.max_tokens,
        "stream": True,
    }


async def ask(client: httpx.AsyncClient, question: dict[str, Any]) -> Told:
    """Read one stream to its end."""
    began = time.monotonic()
    told = Told()
    async with client.stream("POST", "/generate", json=question) as response:
        response.raise_for_status()
        async for line in response.aiter_lines():
            now_s = time.monotonic() - began
            if line.startswith("event: "):
                told.ended = line.removeprefix("event: ")
                told.done_s = now_s
                if told.ended == "passages":
                    told.passages_s = now_s
                elif told.ended == "token" and not told.first_s:
                    told.first_s = now_s
            elif line.startswith("data: ") and told.ended == "usage":
                told.tokens = json.loads(line[6:])["completion_tokens"]
            elif line.startswith("data: ") and told.ended == "done":
                told.degraded = json.loads(line[6:])["degraded"]
    return told


async def until(client: httpx.AsyncClient, holds: Callable[[float, float], bool]) -> None:
    """Wait for so many texts to be written and to wait."""
    while not holds(await figure(client, "ragline_llm_busy"), await figure(client, "ragline_llm_waiting")):  # noqa: ASYNC110 - in another process
        await asyncio.sleep(POLL_S)


async def figure(client: httpx.AsyncClient, name: str) -> float:
    """A metric, added up over its labels."""
    lines = (await client.get("/metrics")).text.splitlines()
    return sum(float(line.split()[-1]) for line in lines if line.startswith(name + "{"))


def resident(suite: Suite) -> float:
    """The memory of the suite's process, in MB."""
    assert suite.process is not None
    status = Path(f"/proc/{suite.process.pid}/status").read_text()
    return float(status.split("VmRSS:")[1].split()[0]) / MB
