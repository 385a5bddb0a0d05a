"""Calls to a server elsewhere that scores for us: bounded in number, size and time, and tried again."""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import httpx
import orjson
import structlog

from ragline import context, retry_after
from ragline.errors import Internal, Overloaded, RaglineError, TimedOut, Unavailable
from services.reranker.scorers._server import Connection, Key, Server, trusted

MB = 1024 * 1024
CONNECT_S = 3.0  # a host that takes longer to accept is away
FIRST_PAUSE_S = 0.1
WORDS = 300  # characters of the server's own words in a log line or an error
AGAIN = frozenset({408, 424, 425, 429, 500, 502, 503, 504, 529})
BUSY = frozenset({429, 503, 529})

log = structlog.get_logger(__name__)


class Rejected(Unavailable):
    """The server does not accept the request as it is; ``words`` are its own."""

    def __init__(self, detail: str, words: str) -> None:
        super().__init__(detail)
        self.words = words


@dataclass(frozen=True, slots=True)
class Refusal:
    """Why there is no answer, whether to ask again, and after how many seconds if the server said so."""

    error: RaglineError
    again: bool = False
    after_s: float | None = None


class Remote:
    """Posts JSON to one address and gives back the JSON of its answers.

    ``max_concurrent`` calls run at once, whichever request they are of; ``max_waiting`` requests may wait behind
    those. The calls change nothing, so what may pass is asked again: after as long as the server says, or a random
    while that grows, as long as the time of the request allows.
    """

    def __init__(self, server: Server, key: Key, connection: Connection) -> None:
        self.server = server
        self.key = key
        self.connection = connection
        self.client = httpx.AsyncClient(
            verify=trusted(connection, server.url),
            proxy=connection.proxy,
            trust_env=False,  # only settings read the environment
            headers={"accept-encoding": "identity"},  # so that little on the wire is little here
            timeout=httpx.Timeout(None, connect=CONNECT_S),  # all together are bounded in ``ask``
            limits=httpx.Limits(max_connections=None, max_keepalive_connections=connection.max_concurrent),
        )
        self.slots = asyncio.Semaphore(connection.max_concurrent)
        self.requests = 0

    async def close(self) -> None:
        """Close the connections."""
        await self.client.aclose()

    async def ask(self, bodies: Sequence[Any]) -> list[Any]:
        """The answer to each body, in order; the first failure ends the others.

        Raises Overloaded (here or there), Unavailable, Rejected, TimedOut and Internal.
        """
        most = self.connection.max_concurrent + self.connection.max_waiting
        if self.requests >= most:
            name, waiting = self.server.scorer, self.connection.max_waiting
            raise Overloaded(f"{name} has {most} requests already, {waiting} of them waiting (its max_waiting).")
        limit_s = min(self.server.timeout_s, context.remaining_s(self.server.timeout_s))
        self.requests += 1
        try:
            async with asyncio.timeout(limit_s):
                return await self.answers(bodies, time.monotonic() + limit_s)
        except TimeoutError:
            raise TimedOut(
                f"The server of {self.server.scorer} did not answer within {limit_s:.3g} s; allow more time by "
                "its option timeout_s, RERANKER_BUDGET_S or the request's deadline."
            ) from None
        finally:
            self.requests -= 1

    async def answers(self, bodies: Sequence[Any], end: float) -> list[Any]:
        """The answers; a large request queues again for each call, so that others get their turn."""
        found: list[Any] = [None] * len(bodies)
        waiting = iter(enumerate(bodies))

        async def work() -> None:
            for place, body in waiting:
                found[place] = await self.answer(orjson.dumps(body), end)

        try:
            async with asyncio.TaskGroup() as group:
                for _ in range(min(len(bodies), self.connection.max_concurrent)):
                    group.create_task(work())
        except* RaglineError as failed:
            raise first(failed) from None
        return found

    async def answer(self, body: bytes, end: float) -> Any:
        """The answer to one body, after as many tries as it takes and ``end`` and the retries allow."""
        tries = 0
        while True:
            async with self.slots:
                found = await self.once(body)
            if not isinstance(found, Refusal):
                return found
            pause_s = pause(found, tries)
            if not found.again or tries >= self.connection.retries or time.monotonic() + pause_s >= end:
                raise found.error
            tries += 1
            log.info("scoring is tried again", scorer=self.server.scorer, pause_s=pause_s, why=str(found.error))
            await asyncio.sleep(pause_s)

    async def once(self, body: bytes) -> Any:
        """The JSON of one answer, or why there is none."""
        name, shown = self.server.scorer, self.server.shown
        used = self.key.value
        headers = {"content-type": "application/json", **self.server.headers, **self.key.headers()}
        try:
            async with self.client.stream("POST", self.server.url, content=body, headers=headers) as response:
                content = await self.content(response)
        except httpx.RequestError as error:
            log.warning(
                "server cannot be reached", scorer=name, url=shown, reason=f"{type(error).__name__}: {error}"
            )
            return Refusal(Unavailable(f"The server of {name} cannot be reached."), again=True)
        if content is None:
            log.error("answer is too large", scorer=name, url=shown, max_mb=self.connection.max_answer_mb)
            return Refusal(Internal(f"The server of {name} says more than its max_answer_mb allows."))
        words = self.key.hidden(content[: 4 * WORDS].decode("utf-8", "replace"))[:WORDS]
        if response.status_code != httpx.codes.OK:
            refused = response.status_code in {httpx.codes.UNAUTHORIZED, httpx.codes.FORBIDDEN}
            if refused and await self.key.changed(used):
                return await self.once(body)
            return self.refusal(response, words)
        try:
            return orjson.loads(content)
        except orjson.JSONDecodeError as error:
            log.error("answer is no JSON", scorer=name, url=shown, words=words, reason=str(error))  # noqa: TRY400
            return Refusal(Internal(f"The server of {name} answered with what is no JSON: {words}"))

    async def content(self, response: httpx.Response) -> bytes | None:
        """What the server says; None where it is more than is allowed."""
        most = int(self.connection.max_answer_mb * MB)
        content = bytearray()
        async for chunk in response.aiter_bytes():
            content += chunk
            if len(content) > most:
                return None
        return bytes(content)

    def refusal(self, response: httpx.Response, words: str) -> Refusal:
        """What a status other than 200 means for our caller; what only the operator can mend goes to the log."""
        name, status = self.server.scorer, response.status_code
        if status in AGAIN:
            after_s = retry_after.seconds(response.headers.get("retry-after", ""))
            busy = f"The server of {name} takes no more requests now (status {status})."
            if status == httpx.codes.TOO_MANY_REQUESTS:
                return Refusal(Overloaded(busy, retry_after_s=after_s or 1.0), again=True, after_s=after_s)
            failed = busy if status in BUSY else f"The server of {name} failed with status {status}."
            return Refusal(Unavailable(failed, retry_after_s=after_s or 1.0), again=True, after_s=after_s)
        log.error("server refuses us", scorer=name, url=self.server.shown, status=status, words=words)
        if status in {httpx.codes.UNAUTHORIZED, httpx.codes.FORBIDDEN}:
            way = "its option api_key or api_key_file is wrong"
        elif status in {httpx.codes.NOT_FOUND, httpx.codes.METHOD_NOT_ALLOWED} or response.is_redirect:
            way = "its option url or model is wrong"
        elif status == httpx.codes.REQUEST_ENTITY_TOO_LARGE:
            way = "the request is too large for it; lower its options max_passages and max_chars"
        else:
            return Refusal(Rejected(f"The server of {name} does not accept the request: {words}", words))
        return Refusal(Unavailable(f"The server of {name} refuses this service with status {status}: {way}."))


def pause(refusal: Refusal, tries: int) -> float:
    """Seconds until the next try: as long as was asked for, and a random while that grows with the tries."""
    grown: float = FIRST_PAUSE_S * 2**tries
    return grown * random.SystemRandom().uniform(0.5, 1.0) + (refusal.after_s or 0.0)


def first(failed: BaseExceptionGroup[RaglineError]) -> RaglineError:
    """The first failure of a group."""
    error: BaseException = failed
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    if not isinstance(error, RaglineError):
        raise error
    return error
