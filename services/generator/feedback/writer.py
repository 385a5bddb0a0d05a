"""Writes entries in the background: who hands one over never waits, and a store that is away is tried again."""

from __future__ import annotations

import asyncio
import contextvars
from collections import OrderedDict

import structlog

from ragline import metrics
from ragline.entries import Entries
from ragline.errors import RaglineError

RETRY_S = 1.0
CLOSE_S = 5.0  # longest that the end waits for what is not written yet

log = structlog.get_logger(__name__)


class Writer:
    """At most ``max_bytes`` wait, the newest ones; belongs to one event loop. One entry a key.

    Nobody was promised them, so a store short of memory may drop them before their time.
    """

    def __init__(self, entries: Entries, ttl_s: float, max_bytes: int, retry_s: float = RETRY_S) -> None:
        self.entries = entries
        self.ttl_s = ttl_s
        self.max_bytes = max_bytes
        self.retry_s = retry_s
        self.waiting: OrderedDict[str, bytes] = OrderedDict()
        self.bytes = 0
        self.wanted = asyncio.Event()
        self.idle = asyncio.Event()
        self.idle.set()
        self.task: asyncio.Task[None] | None = None
        about = "Records of answers, by what became of them."
        self.counted = metrics.counter("ragline_records", about, ("outcome",))

    def put(self, key: str, body: bytes) -> None:
        """Have it written; the oldest that wait make room where there is none."""
        if self.task is None:  # outside of the request that happens to be the first
            self.task = asyncio.create_task(self.work(), context=contextvars.Context())
        while self.waiting and self.bytes + len(body) > self.max_bytes:
            self.taken(next(iter(self.waiting)), "dropped")
        self.waiting[key] = body
        self.bytes += len(body)
        self.idle.clear()
        self.wanted.set()

    def taken(self, key: str, outcome: str) -> None:
        """It waits no longer, unless it was dropped while it was written."""
        body = self.waiting.pop(key, None)
        if body is not None:
            self.bytes -= len(body)
            self.counted.labels(outcome).inc()

    async def work(self) -> None:
        """Write one after the other, as long as the process lives."""
        told = False
        while True:
            await self.wanted.wait()
            while self.waiting:
                key, body = next(iter(self.waiting.items()))
                try:
                    await self.entries.append(key, body, ttl_s=self.ttl_s, limit=1, lasting=False)
                except RaglineError as error:
                    if not told:
                        log.warning("records of answers cannot be written", reason=error.detail)
                    told = True
                    await asyncio.sleep(self.retry_s)
                    continue
                told = False
                self.taken(key, "written")
            self.wanted.clear()
            self.idle.set()

    async def close(self) -> None:
        """Write what waits, as far as the store takes it within a few seconds."""
        try:
            async with asyncio.timeout(CLOSE_S):
                await self.idle.wait()
        except TimeoutError:
            log.warning("records of answers are lost", count=len(self.waiting))
        while self.task and not self.task.done():
            self.task.cancel()  # again where a call to the store lost it, as ``wait_for`` of Python 3.11 may
            await asyncio.wait([self.task], timeout=CLOSE_S)
