"""Keeps jobs in Redis, for doors and workers on many machines."""

from __future__ import annotations

import hashlib
import time
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from typing import Any

import orjson
import structlog
from redis.exceptions import NoScriptError, RedisError

from ragline import redis_client
from ragline.errors import NotFound, Unavailable
from ragline.redis_client import Server
from services.preprocess.job_stores import MAX_OPEN_JOBS, JobStore, Parts
from services.preprocess.job_stores._lua import CODES, PROGRAM, STATES
from services.preprocess.job_stores._watching import Listeners
from services.preprocess.jobs import OPEN, Head, Job, JobError, NewDocument, State, Work

REFRESH_S = 0.25  # a listener asks this often whether another process has changed the job
BATCH = 500
ERROR = b"error:"  # before the names of an ended job's errors
AWAY = "The store of jobs does not answer now; ask again later. Documents that were accepted go in."
SHA = hashlib.sha1(PROGRAM.encode(), usedforsecurity=False).hexdigest()  # what Redis knows the program by

log = structlog.get_logger(__name__)


def load(parts: Parts) -> JobStore:
    """The URLs and options of ``ragline.redis_client``; raises SettingsError."""
    return RedisJobs(redis_client.open(parts.location), parts.ttl_s)


class RedisJobs:
    """A JobStore in Redis. All keys of a job are in one slot of a Cluster, and change in one step.

    Open jobs have no time to live, so that a Redis that is told to drop what has one (``volatile-lru``) drops
    caches and ended jobs only. An ended job is one key, so it is dropped as a whole. A job takes a byte a document
    and its first 1000 errors.
    """

    def __init__(self, server: Server, ttl_s: float) -> None:
        self.server = server
        self.ttl_s = ttl_s
        self.listeners = Listeners(REFRESH_S)

    async def create(self, head: Head, documents: Sequence[NewDocument]) -> None:
        """See JobStore."""
        for start in range(0, len(documents), BATCH):
            async with self._guard() as client:
                pipe = client.pipeline(transaction=False)
                for n, document in enumerate(documents[start : start + BATCH], start):
                    if not document.reason:
                        key = self._write_key(head.tenant, head.collection, document.id)
                        pipe.sadd(key, f"{head.id}:{n}")
                        pipe.expire(key, round(self.ttl_s))
                await pipe.execute()
        refused = [
            argument
            for n, document in enumerate(documents)
            if document.reason
            for argument in (n, error_json(document.id, document.reason))
        ]
        await self._change("create", head, *refused)

    async def get(self, tenant: str, job_id: str) -> Job:
        """See JobStore."""
        async with self._guard() as client:
            pipe = client.pipeline(transaction=False)
            pipe.hgetall(f"{self._base(job_id)}:head")
            pipe.hgetall(f"{self._base(job_id)}:errors")
            head, errors = await pipe.execute()
        if not head or head[b"tenant"].decode() != tenant:
            raise NotFound(f"There is no job {job_id!r}; finished jobs are forgotten after a while.")
        return job_of(job_id, head, errors)

    def watch(self, tenant: str, job_id: str) -> AsyncIterator[Job]:
        """See JobStore."""
        return self.listeners.follow(self, tenant, job_id)

    async def cancel(self, tenant: str, job_id: str) -> None:
        """See JobStore."""
        job = await self.get(tenant, job_id)
        await self._change("cancel", job.head)

    async def begin(self, work: Work) -> State:
        """See JobStore."""
        state = STATES[int(await self._change("begin", work.job, work.n))]
        if state is not State.RUNNING:
            await self._forget_write(work)
        return state

    async def expand(self, work: Work, parts: int) -> list[int]:
        """See JobStore."""
        ended: bytes = await self._change("expand", work.job, work.n, parts)
        return [number for number in range(1, parts + 1) if number > len(ended) or not ended[number - 1]]

    async def finish(self, work: Work, state: State, reason: str = "") -> None:
        """See JobStore."""
        error, code = error_json(work.document.id, reason), CODES[state]
        if work.part:
            await self._change("part", work.job, work.n, work.part, code, error)
            return
        await self._change("finish", work.job, work.n, code, error)
        await self._forget_write(work)

    async def park(self, work: Work, reason: str) -> None:
        """See JobStore."""
        await self._change("park", work.job, work.n, error_json(work.document.id, reason))

    async def cancelled(self, job_id: str) -> bool:
        """See JobStore."""
        return bool(await self._field(job_id, "cancelled"))

    async def open_write(self, tenant: str, collection: str, document_id: str) -> bool:
        """See JobStore."""
        key = self._write_key(tenant, collection, document_id)
        async with self._guard() as client:
            names = [name.decode().rpartition(":") for name in await client.smembers(key)]
            pipe = client.pipeline(transaction=False)
            for job_id, _, n in names:
                pipe.hmget(f"{self._base(job_id)}:head", "tenant", "finished_at")
                pipe.getrange(f"{self._base(job_id)}:docs", int(n), int(n))
            answers = await pipe.execute() if names else []
        return any(
            known and not ended and STATES[state[0] if state else 0] in OPEN
            for (known, ended), state in zip(answers[::2], answers[1::2], strict=True)
        )

    async def open_jobs(self) -> list[str]:
        """See JobStore."""
        async with self._guard() as client:
            return [name.decode() for name in await client.srandmember(self._index, MAX_OPEN_JOBS)]

    async def version(self, job_id: str) -> int:
        """See JobStore."""
        return await self._field(job_id, "version")

    async def assume(self, job_id: str, *, running: bool) -> None:
        """See JobStore."""
        await self._change("assume", Head(job_id, "", "", 0, 0.0), int(running))

    async def prune(self, before: float) -> None:
        """Nothing to do: ended jobs have a time to live."""

    async def close(self) -> None:
        """See JobStore."""
        await self.server.close()

    async def _change(self, op: str, head: Head, *more: int | str | bytes) -> Any:
        """One step of the program; then the index of open jobs, which is in another slot, follows."""
        fixed = (op, repr(time.time()), max(1, round(self.ttl_s)))
        arguments = (*fixed, head.tenant, head.collection, head.total, repr(head.created_at), *more)
        async with self._guard() as client:
            try:
                result, index = await client.evalsha(SHA, 1, self._base(head.id), *arguments)
            except NoScriptError:
                result, index = await client.eval(PROGRAM, 1, self._base(head.id), *arguments)
            if index:
                await (client.sadd if index > 0 else client.srem)(self._index, head.id)
        self.listeners.tell(head.id)
        return result

    async def _forget_write(self, work: Work) -> None:
        key = self._write_key(work.job.tenant, work.job.collection, work.document.id)
        async with self._guard() as client:
            await client.srem(key, f"{work.job.id}:{work.n}")

    async def _field(self, job_id: str, name: str) -> int:
        async with self._guard() as client:
            return int(await client.hget(f"{self._base(job_id)}:head", name) or 0)

    @asynccontextmanager
    async def _guard(self) -> AsyncIterator[Any]:
        """The client; a Redis that refuses (no memory left, say) is as good as away."""
        try:
            async with self.server.guard() as client:
                yield client
        except Unavailable as error:  # which names the server, for the log
            raise Unavailable(AWAY) from error
        except RedisError as error:
            log.warning("redis refuses", error=str(error))
            raise Unavailable(AWAY) from error

    @property
    def _index(self) -> str:
        return f"{self.server.prefix}jobs:open"

    def _base(self, job_id: str) -> str:
        return f"{self.server.prefix}{{{job_id}}}"

    def _write_key(self, tenant: str, collection: str, document_id: str) -> str:
        name = hashlib.sha256("\0".join((tenant, collection, document_id)).encode()).hexdigest()
        return f"{self.server.prefix}write:{name[:32]}"


def error_json(document_id: str, reason: str) -> bytes:
    """How an error of a job is kept."""
    return orjson.dumps([document_id, reason])


def job_of(job_id: str, head: Mapping[bytes, bytes], errors: Mapping[bytes, bytes]) -> Job:
    """The job that its fields are of."""
    text = {name.decode(): value.decode() for name, value in head.items()}
    kept = {name.removeprefix(ERROR): value for name, value in head.items() if name.startswith(ERROR)}
    errors = {**errors, **kept}
    counts = {state: int(text.get(f"s{code}", 0)) for code, state in STATES.items()}
    return Job(
        Head(job_id, text["tenant"], text["collection"], int(text["total"]), float(text["created_at"])),
        finished_at=float(text["finished_at"]) if "finished_at" in text else None,
        cancelled=text.get("cancelled") == "1",
        restored=text.get("restored") == "1",
        counts={state: number for state, number in counts.items() if number},
        errors=tuple(JobError(*orjson.loads(errors[name])) for name in sorted(errors)),
    )
