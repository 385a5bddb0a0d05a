"""The real reranker with its doors, to put a scorer on trial; and a scorer that orders the other way round."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import grpc
import httpx

from ragline.http import create_app
from services.generator.checks.evidence import Overlap
from services.reranker.__main__ import build
from services.reranker.scorers import Candidate, Parts, Statistics
from services.reranker.settings import Settings
from tests.generator import world


class Backwards:
    """Likes best what shares the fewest words with the query."""

    name = "backwards"

    def __init__(self, parts: Parts) -> None:
        self.parts = parts

    def score(self, query: str, passages: Sequence[Candidate], statistics: Statistics | None) -> list[float]:
        texts = [each.text for each in passages]
        overlap = Overlap(query, texts)
        return [-overlap.share("", text) for text in texts]


@dataclass(frozen=True)
class Trying:
    """A channel to the reranker, and its REST doors."""

    channel: grpc.aio.Channel
    doors: httpx.AsyncClient

    async def canary(self, scorer: str = f"{__name__}:Backwards") -> None:
        """From now on a canary answers all questions."""
        order = {"scorer": scorer, "role": "canary", "share": 1.0, "probe": False}
        answer = await self.doors.post("/admin/reranker", json=order)
        assert answer.status_code == 200, answer.text

    async def withdraw(self) -> None:
        """From now on it answers none."""
        assert (await self.doors.delete("/admin/reranker/canary")).status_code == 200


@asynccontextmanager
async def trying(folder: Path, **settings: Any) -> AsyncIterator[Trying]:
    """A reranker that has begun."""
    service = await build(Settings(data_dir=folder, threads=1, **settings))
    await service.start()
    transport = httpx.ASGITransport(create_app("reranker", [service.router], checks={}))
    async with (
        world.serving(service.add_rpc) as channel,
        httpx.AsyncClient(transport=transport, base_url="http://127.0.0.1") as doors,
    ):
        yield Trying(channel, doors)
    await service.stop()
