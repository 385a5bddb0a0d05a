"""Doors and queues for the tests of batches: a door that counts and can fail, and workers over a real broker."""

from __future__ import annotations

import asyncio
import json
from collections import Counter
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from fastapi import APIRouter, Request

import ragline.broker
from ragline.broker import Broker
from ragline.errors import InvalidRequest, RaglineError, Unavailable
from ragline.http import create_app
from services.generator.batches.batches import ENDED, Batches
from services.generator.batches.doors import Doors, inside
from services.generator.batches.inputs import Bounds
from services.generator.batches.intake import Intake
from services.generator.batches.manifest import Manifest
from services.generator.batches.storage import Storage
from services.generator.batches.work import Tools
from services.generator.batches.worker import Worker
from services.generator.room import Room

DAY_S = 86_400.0


class Till:
    """A door behind which /generate answers with the query itself; it counts, may fail, and may be shut."""

    def __init__(self) -> None:
        self.asked: Counter[str] = Counter()
        self.bodies: list[dict[str, Any]] = []
        self.fails: dict[str, RaglineError] = {}
        self.open = asyncio.Event()
        self.open.set()
        self.waiting = 0
        self.away = False

    def door(self) -> Any:
        """The application."""
        routes = APIRouter()

        @routes.post("/generate")
        @routes.post("/retrieve")
        @routes.post("/embed")
        async def answer(request: Request) -> dict[str, Any]:
            return await self.answer(await request.json())

        async def check() -> None:
            if self.away:
                raise Unavailable("It is away.")

        return create_app("till", [routes], checks={"till": check})

    async def answer(self, body: dict[str, Any]) -> dict[str, Any]:
        """What each of the queries is answered with."""
        self.waiting += 1
        await self.open.wait()
        self.waiting -= 1
        if self.away:
            raise Unavailable("It is away.")
        self.bodies.append(body)
        queries = body.get("queries", [body.get("query", body.get("input"))])
        if "" in queries:
            raise InvalidRequest("The query is empty.", field="query")
        for query in queries:
            self.asked[query] += 1
            if query in self.fails:
                raise self.fails[query]
        if "queries" in body:
            results = [{"passages": [query], "generation": 1, "timings_ms": {}} for query in queries]
            return {"results": results, "generation": 1, "timings_ms": {}, "degraded": []}
        return {"said": queries[0]}


def line(query: str, custom_id: str | None = None, route: str = "generate") -> bytes:
    """A line that asks ``query``."""
    field = "input" if route == "embed" else "query"
    given = {"custom_id": custom_id or query, "method": "POST", "url": f"/v1/{route}", "body": {field: query}}
    return json.dumps(given).encode() + b"\n"


async def parts(data: bytes, size: int = 1000) -> AsyncIterator[bytes]:
    """The body as it comes in."""
    for at in range(0, len(data), size):
        yield data[at : at + size]


class Place:
    """A storage, a queue and a door, for workers to come and go."""

    def __init__(self, storage: Storage, broker: Broker, *, chunk_lines: int = 4) -> None:
        self.batches = Batches(storage, 7 * DAY_S)
        self.broker = broker
        self.till = Till()
        bounds = Bounds(chunk_lines=chunk_lines)
        self.intake = Intake(self.batches, broker, bounds, Room(2, "batches", "GENERATOR_MAX_BATCH_UPLOADS"))

    def worker(self, *, max_attempts: int = 3, hold_s: float = 60.0, parallel: int = 2) -> Worker:
        """A worker that has not begun."""
        door = inside("till", self.till.door())
        batches = Batches(self.batches.storage, self.batches.ttl_s)  # nothing remembered from others
        doors = Doors(door, door, door)
        tools = Tools(batches, doors, asyncio.Semaphore(parallel), hold_s=hold_s, away_s=0.05, busy_s=0.05)
        return Worker(self.broker, tools, concurrency=2, max_attempts=max_attempts)

    @asynccontextmanager
    async def working(self, **options: Any) -> AsyncIterator[Worker]:
        """A worker that runs."""
        worker = self.worker(**options)
        await worker.start()
        yield worker
        await worker.stop()

    async def accept(self, *given: bytes) -> Manifest:
        """Take in a batch of these lines."""
        return await self.intake.accept("default", parts(b"".join(given)))

    def view(self, batch: Manifest) -> dict[str, Any]:
        """The batch as clients see it."""
        return self.batches.view(batch)

    async def ended(self, batch: Manifest) -> dict[str, Any]:
        """The batch once it has ended."""
        while (view := self.view(batch))["state"] not in ENDED:  # noqa: ASYNC110 - files have no events
            await asyncio.sleep(0.02)
        return view

    def results(self, batch: Manifest, after: int = 0, *, in_order: bool = True) -> list[dict[str, Any]]:
        """The results."""
        found = self.batches.results.after(batch, after, in_order=in_order)
        return [json.loads(result.raw) for part in found for result in part]


@asynccontextmanager
async def sqlite(folder: Path, **options: Any) -> AsyncIterator[Broker]:
    """The queue in a file, with short delays."""
    given = {"retry_s": 0.02, "max_retry_s": 0.05, "max_attempts": 3, **options}
    query = "&".join(f"{name}={value}" for name, value in given.items())
    broker = ragline.broker.open(f"sqlite://{folder}/queue.db?{query}")
    yield broker
    await broker.close()


def said(results: Sequence[dict[str, Any]]) -> list[str]:
    """What the till answered, in order."""
    return [result["body"]["said"] for result in results]
