"""Keeps what was said in conversations, by tenant and session, for a time."""

from __future__ import annotations

import secrets
import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from typing import Any

import orjson

from ragline.entries import Entries
from ragline.errors import NotFound

ID_BYTES = 18  # of chance in an id made here


@dataclass(frozen=True)
class Said:
    """A question as it was asked, and its answer; ``query`` is what was searched for where that is another.

    ``answer_id`` is the response's id, ``asked_at`` in seconds since the epoch. The rest is what the response said
    of the answer, so that it can be shown again with its sources and its reservations; turns of earlier versions
    lack it. ``citations`` have the ``title`` of their document, too.
    """

    question: str
    answer: str
    abstained: bool
    query: str
    answer_id: str
    asked_at: float
    collection: str = ""
    citations: tuple[Mapping[str, Any], ...] = ()
    unsupported: tuple[Mapping[str, Any], ...] = ()
    findings: tuple[Mapping[str, Any], ...] = ()
    degraded: tuple[str, ...] = ()
    finish: str = "stop"
    model: str = ""
    like: str = ""


FIELDS = frozenset(field.name for field in fields(Said))


class Sessions:
    """A list in ``store`` for each session: its latest ``limit`` turns, for ``ttl_s`` from the last of them.

    Every call raises Unavailable where the store is away.
    """

    def __init__(self, store: Entries, ttl_s: float, limit: int) -> None:
        self.store = store
        self.ttl_s = ttl_s
        self.limit = limit

    async def create(self, tenant: str) -> str:
        """The id of a new session that nobody can guess."""
        session_id = secrets.token_urlsafe(ID_BYTES)
        await self.append(tenant, session_id, orjson.dumps({"began": time.time()}))
        return session_id

    async def read(self, tenant: str, session_id: str) -> list[Said]:
        """The turns, oldest first; raises NotFound where there is no such session, or no more."""
        entries = await self.store.read(key(tenant, session_id))
        if not entries:
            raise NotFound(f"There is no session {session_id!r}; it may be over, or deleted.")
        return turns(entries)

    async def latest(self, tenant: str, session_id: str, count: int) -> list[Said]:
        """The last ``count`` turns, oldest first; none where the session is new."""
        return turns(await self.store.read(key(tenant, session_id)))[-count:]

    async def add(self, tenant: str, session_id: str, said: Said) -> None:
        """Put a turn at the end. Two at once both stay, in the order in which their answers were done."""
        await self.append(tenant, session_id, orjson.dumps(asdict(said)))

    async def delete(self, tenant: str, session_id: str) -> None:
        """Forget a session; raises NotFound where there is none."""
        if not await self.store.delete(key(tenant, session_id)):
            raise NotFound(f"There is no session {session_id!r}; it may be over, or deleted.")

    async def append(self, tenant: str, session_id: str, entry: bytes) -> None:
        """Put an entry at the end of a session's list."""
        await self.store.append(key(tenant, session_id), entry, ttl_s=self.ttl_s, limit=self.limit)


def key(tenant: str, session_id: str) -> str:
    """Where a session is kept."""
    return f"session:{tenant}:{session_id}"


def turns(entries: list[bytes]) -> list[Said]:
    """The turns among the entries; another tells when the session began. Fields of later versions go unread."""
    rows = [orjson.loads(entry) for entry in entries]
    return [Said(**{name: row[name] for name in FIELDS & row.keys()}) for row in rows if "question" in row]
