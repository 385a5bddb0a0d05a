"""Keeps order behind the workers: old jobs, jobs whose record was lost, bytes that nothing needs."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterator

import structlog

from ragline.broker import Broker, DeadLetter, Poison
from ragline.errors import NotFound, Unavailable
from services.preprocess.ingest import Parts
from services.preprocess.jobs import Work
from services.preprocess.messages import QUEUE, unpacked

ROUND_S = 5.0
LONG_ROUND_S = 3600.0
LOST_S = 30.0  # for which the queue is empty and a job unchanged before its queued documents count as gone
MAX_LETTERS = 10_000
BATCH = 1000

log = structlog.get_logger(__name__)


class Housekeeping:
    """What a worker does beside its work; several may do it at once.

    No queue tells which messages are in whose hands, but none is for longer than ``hold_s``: what has been still
    for so long is still. Ages are counted from when this process first saw a thing, so that a clock which is
    set makes nothing old: bytes that no document is kept of go once they have lain ``orphan_age_s`` seconds.
    Jobs are forgotten ``job_ttl_s`` after their end, and by the clock, as nothing depends on that.
    """

    def __init__(
        self, parts: Parts, broker: Broker, *, hold_s: float, job_ttl_s: float, orphan_age_s: float
    ) -> None:
        self.parts = parts
        self.broker = broker
        self.hold_s = hold_s
        self.job_ttl_s = job_ttl_s
        self.orphan_age_s = orphan_age_s
        self.still_jobs: dict[str, tuple[int, float]] = {}
        self.still_since: float | None = None
        self.first_seen: dict[str, float] = {}
        self.next_chores = self.next_sweep = 0.0

    async def run(self) -> None:
        """Rounds for ever; what fails is tried again in the next one."""
        while True:
            try:
                await self.round()
            except Unavailable as error:
                log.info("housekeeping waits", reason=error.detail)
            except Exception:  # outermost boundary of a background task: the next round tries again
                log.exception("housekeeping failed")
            await asyncio.sleep(ROUND_S)

    async def round(self) -> None:
        """End the jobs that nothing will report on any more; now and then do the long chores."""
        now = time.monotonic()
        if now >= self.next_chores:
            await self.note_letters()
            await self.parts.jobs.prune(time.time() - self.job_ttl_s)
            self.next_chores = now + LONG_ROUND_S
        idle = not await self.broker.depth(QUEUE)
        still = idle and not await self.end_lost_jobs(now)
        self.still_since = (self.still_since or now) if still else None
        if self.still_since is not None and now - self.still_since >= self.hold_s and now >= self.next_sweep:
            await self.sweep()
            self.next_sweep = now + min(LONG_ROUND_S, self.orphan_age_s)

    async def note_letters(self) -> None:
        """Note messages that the queue gave up by itself in their jobs, where these are still known."""
        for letter in await self.broker.dead_letters(QUEUE, MAX_LETTERS):
            for work in readable(letter):
                try:
                    await self.parts.jobs.get(work.job.tenant, work.job.id)
                except NotFound:
                    continue
                await self.parts.jobs.park(work, letter.reason)

    async def end_lost_jobs(self, now: float) -> int:
        """End jobs of which an empty queue holds nothing; returns how many are open. ``now`` is monotonic.

        A record that was begun anew cannot know what had ended before, and a store that fails over may have
        lost reports. Should there be a report after all, it still counts.
        """
        jobs, before = self.parts.jobs, self.still_jobs
        self.still_jobs = {}
        for job_id in await jobs.open_jobs():
            version = await jobs.version(job_id)
            known, since = before.get(job_id, (0, now))
            self.still_jobs[job_id] = (version, since := since if known == version else now)
            if now - since >= LOST_S:
                await self.note_letters()
                await jobs.assume(job_id, running=now - since >= 2 * self.hold_s)
        return len(self.still_jobs)

    async def sweep(self) -> None:
        """Remove bytes that no document is kept of and no message names."""
        named = await self._named()
        lying = await self.parts.blobs.uris()
        unknown: set[str] = set()
        for start in range(0, len(lying), BATCH):
            batch = lying[start : start + BATCH]
            unknown |= {*batch} - await self.parts.record.known_uris(batch)
        named |= await self._named()
        if await self.broker.depth(QUEUE):
            return
        now = time.monotonic()
        self.first_seen = {uri: self.first_seen.get(uri, now) for uri in unknown - named}
        for uri in [uri for uri, seen in self.first_seen.items() if now - seen >= self.orphan_age_s]:
            await self.parts.blobs.remove(uri)
            del self.first_seen[uri]

    async def _named(self) -> set[str]:
        """The bytes that dead letters name, which may be replayed."""
        letters = await self.broker.dead_letters(QUEUE, MAX_LETTERS)
        if len(letters) >= MAX_LETTERS:
            raise Unavailable(f"The queue {QUEUE} has {MAX_LETTERS} dead letters or more; replay or purge them.")
        return {work.document.uri for letter in letters for work in readable(letter)}


def readable(letter: DeadLetter) -> Iterator[Work]:
    """The document of a dead letter, if it is one of ours."""
    try:
        yield unpacked(letter.body)[0]
    except Poison:
        return
