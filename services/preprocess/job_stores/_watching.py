"""Follows a job from change to change, over a store that may be away for a while."""

from __future__ import annotations

import asyncio
import time
from collections import defaultdict
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import TYPE_CHECKING, TypeVar

from ragline.errors import NotFound, Unavailable
from services.preprocess.jobs import Job

if TYPE_CHECKING:
    from services.preprocess.job_stores import JobStore

GRACE_S = 60.0  # for which a store that went away, or lost the record, is waited for
AGAIN_S = 1.0
SETTLE_S = 0.05  # changes closer together than this reach a listener as one

T = TypeVar("T")


class Listeners:
    """Who follows which job in this process; each also looks every ``refresh_s``, for changes made elsewhere."""

    def __init__(self, refresh_s: float) -> None:
        self.refresh_s = refresh_s
        self.by_job: dict[str, set[asyncio.Event]] = defaultdict(set)

    def tell(self, job_id: str) -> None:
        """The job has changed."""
        for listener in self.by_job.get(job_id, ()):
            listener.set()

    async def follow(self, store: JobStore, tenant: str, job_id: str) -> AsyncIterator[Job]:
        """The job now and after each change."""
        changed = asyncio.Event()
        self.by_job[job_id].add(changed)
        try:
            async for job in watch(store, tenant, job_id, lambda: news(changed, self.refresh_s)):
                yield job
        finally:
            self.by_job[job_id].discard(changed)
            if not self.by_job[job_id]:
                del self.by_job[job_id]


async def watch(
    store: JobStore, tenant: str, job_id: str, pause: Callable[[], Awaitable[None]]
) -> AsyncIterator[Job]:
    """The job now and after each change; ``pause`` returns when there may be one."""
    seen = await store.version(job_id)
    job = await store.get(tenant, job_id)
    yield job
    while not job.ended:
        await pause()
        version = await patiently(lambda: store.version(job_id))
        if version == seen:
            continue
        await asyncio.sleep(SETTLE_S)
        job = await patiently(lambda: store.get(tenant, job_id))
        seen = version  # what changed between the two questions is told again, and never missed
        yield job


async def patiently(ask: Callable[[], Awaitable[T]]) -> T:
    """The answer, once there is one; raises what still stands in its way when the grace is over."""
    ends_at = time.monotonic() + GRACE_S
    while True:
        try:
            return await ask()
        except (NotFound, Unavailable):
            if time.monotonic() > ends_at:
                raise
            await asyncio.sleep(AGAIN_S)


async def news(changed: asyncio.Event, limit_s: float) -> None:
    """Wait for a change in this process, or long enough that another process may have made one."""
    try:
        await asyncio.wait_for(changed.wait(), limit_s)
    except TimeoutError:
        return
    changed.clear()
