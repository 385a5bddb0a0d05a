"""The door: what it adds to a first token, how many idle streams it holds, what a repeated question takes."""

from __future__ import annotations

import asyncio
import statistics
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import httpx

from bench.generate import TOWNS, story
from bench.report import Row
from tests.nginx.replica import Replica
from tests.servers.nginx import HOST, Nginx
from tests.suite import Suite, put

COLLECTION = "bench-door"
PAIRS = 200
UNCACHED = 20
HITS = 200
STREAMS = 200
LIMIT_MS = 15


def measure(suite: Suite, folder: Path) -> list[Row]:
    """Three rows. Idle streams stay open at the door while its first tokens are timed."""
    generator = f"{HOST}:{suite.port}"
    with (
        Replica(folder / "silent") as silent,
        Nginx(folder / "door", {"generator": [generator], "preprocess": [silent.address]}) as door,
        suite.client() as direct,
        door.client() as through,
    ):
        towns = [{"id": town, "title": town, "text": story(town, n)} for n, town in enumerate(TOWNS)]
        put(direct, towns, COLLECTION)
        uncached = [timed(through, question(number)) for number in range(UNCACHED)]
        open_streams, late = asyncio.run(beside_streams(door, direct, through))
        hits = sorted(timed(through, question(0)) for _ in range(HITS))
    return [first_token_row(late), streams_row(open_streams), hit_row(hits, uncached)]


def question(number: int, *, stream: bool = False) -> dict[str, Any]:
    """A question that the documents answer; each number is another one."""
    town = TOWNS[number % len(TOWNS)]
    text = f"How many boats lie in the harbour of {town} in year {1700 + number}?"
    return {"query": text, "collection": COLLECTION, "stream": stream}


def timed(client: httpx.Client, body: dict[str, Any]) -> float:
    """Milliseconds of a whole answer."""
    began = time.perf_counter()
    client.post("/generate", json=body).raise_for_status()
    return (time.perf_counter() - began) * 1000


def first_token(client: httpx.Client, body: dict[str, Any]) -> float:
    """Milliseconds until a stream's first token; the stream is read to its end."""
    began = time.perf_counter()
    found = 0.0
    with client.stream("POST", "/generate", json=body) as answer:
        for line in answer.iter_lines():
            if line == "event: token" and not found:
                found = (time.perf_counter() - began) * 1000
    return found


async def beside_streams(door: Nginx, direct: httpx.Client, through: httpx.Client) -> tuple[int, list[float]]:
    """How many idle streams were open at once, and how much later first tokens came meanwhile."""
    limits = httpx.Limits(max_connections=None)
    async with httpx.AsyncClient(base_url=door.url, timeout=None, limits=limits, trust_env=False) as client:
        begun = asyncio.Semaphore(0)
        streams = [asyncio.create_task(hold(client, begun)) for _ in range(STREAMS)]
        for _ in streams:
            await begun.acquire()
        counters = (await client.get(door.status_url)).text
        late = await asyncio.to_thread(lateness, direct, through)
        still = sum(not stream.done() for stream in streams)
        for stream in streams:
            stream.cancel()
        await asyncio.gather(*streams, return_exceptions=True)
    return min(still, int(counters.split()[2]) - 1), late


async def hold(client: httpx.AsyncClient, begun: asyncio.Semaphore) -> None:
    """A stream that says one thing and then nothing."""
    order = {"do": "stream", "count": 2, "for": "the end"}
    async with client.stream("POST", "/embed", json=order) as answer:
        async for line in answer.aiter_lines():
            if line == "event: token":
                begun.release()


def lateness(direct: httpx.Client, through: httpx.Client) -> list[float]:
    """Door less generator, in pairs that take turns. All answers are from the cache, as these vary least."""
    body = question(0, stream=True)
    for client in (direct, through):
        first_token(client, body)
    late = []
    for number in range(PAIRS):
        order = (direct, through) if number % 2 else (through, direct)
        times = {client: first_token(client, body) for client in order}
        late.append(times[through] - times[direct])
    return sorted(late)


def percentile(ordered: Sequence[float], share: float) -> float:
    """Of values in order."""
    return ordered[min(len(ordered) - 1, int(share * len(ordered)))]


def first_token_row(late: Sequence[float]) -> Row:
    value = percentile(late, 0.95)
    detail = f"{len(late)} pairs, p95; p50 {statistics.median(late):.1f} ms; beside {STREAMS} idle streams"
    return Row(
        "nginx: ms that a stream's first token comes later", value, f"≤ {LIMIT_MS}", value <= LIMIT_MS, detail
    )


def streams_row(count: int) -> Row:
    return Row(
        "nginx: idle streams open at once", count, f"≥ {STREAMS}", count >= STREAMS, "of one client address"
    )


def hit_row(hits: Sequence[float], uncached: Sequence[float]) -> Row:
    value, whole = statistics.median(hits), statistics.median(uncached)
    detail = f"p95 {percentile(hits, 0.95):.1f} ms; uncached p50 {whole:.0f} ms, {whole / value:.0f} times as long"
    return Row("nginx: p50 ms of a repeated question", value, "", None, detail)
