"""Keeps what led to an answer, for whoever says later whether it was any good; no answer waits for it."""

from __future__ import annotations

import hashlib
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from datetime import UTC, datetime
from typing import Any
from urllib.parse import quote

import orjson
import structlog

from ragline import context
from ragline.entries import Entries
from services.generator.events import Done, Question, Ranked
from services.generator.feedback.writer import Writer

FAST = 1  # zlib's level: a record is packed on the event loop

log = structlog.get_logger(__name__)


class AnswerRecords:
    """One record an answer, under the tenant and the id of the answer, for ``ttl_s``."""

    def __init__(self, entries: Entries, ttl_s: float, writer: Writer) -> None:
        self.entries = entries
        self.ttl_s = ttl_s
        self.writer = writer

    async def keep(self, question: Question, done: Done, ranked: Sequence[Ranked]) -> None:
        """Hand an answer to the writer; see ``steps.Records``."""
        try:
            body = packed(record(question, done, ranked))
        except orjson.JSONEncodeError:
            log.warning("an answer that is no Unicode is not recorded", answer=done.id)
            return
        self.writer.put(key(question.tenant, done.id), body)

    async def find(self, tenant: str, answer_id: str) -> dict[str, Any] | None:
        """The record of an answer, written or about to be; None where there is none. Raises Unavailable."""
        name = key(tenant, answer_id)
        waiting = self.writer.waiting.get(name)
        if waiting is not None:
            return unpacked(waiting)
        kept = await self.entries.read(name)
        return unpacked(kept[-1]) if kept else None

    async def close(self) -> None:
        """Write what waits."""
        await self.writer.close()


def key(tenant: str, answer_id: str) -> str:
    """Where a record is; a tenant's name cannot reach into another's."""
    return f"record:{quote(tenant, safe='')}:{answer_id}"


def packed(fields: Mapping[str, Any]) -> bytes:
    """As it is stored."""
    return zlib.compress(orjson.dumps(fields), FAST)


def unpacked(body: bytes) -> dict[str, Any]:
    """What was stored."""
    fields: dict[str, Any] = orjson.loads(zlib.decompress(body))
    return fields


def now() -> str:
    """The time in UTC, to the millisecond."""
    return datetime.now(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def record(question: Question, done: Done, ranked: Sequence[Ranked]) -> dict[str, Any]:
    """Everything that led to an answer; the question and the passages as the guards let them through."""
    outcome = done.outcome
    return {
        "id": done.id,
        "at": now(),
        "request_id": context.request_id(),
        "tenant": question.tenant,
        "collection": question.collection,
        "generation": done.generation,
        "question": question.query,
        "query": done.query,
        "session_id": done.session_id,
        "options": options(question),
        "passages": [passage(each) for each in ranked],
        "prompt": outcome.prompt,
        "model": outcome.model,
        "answer": outcome.answer,
        "citations": [asdict(each) for each in outcome.citations],
        "abstained": outcome.abstained,
        "finish": outcome.finish,
        "unsupported": [asdict(each) for each in outcome.unsupported],
        "findings": [asdict(each) for each in done.findings],
        "degraded": list(outcome.degraded),
        "cached": done.cached,
        "like": done.like,
        "usage": asdict(outcome.usage),
        "timings_ms": dict(done.timings_ms),
    }


def options(question: Question) -> dict[str, Any]:
    """How it was asked; what was said before is in the session, not here."""
    asked = asdict(question)
    for name in ("tenant", "collection", "query", "session_id", "turns"):
        del asked[name]
    return asked


def passage(found: Ranked) -> dict[str, Any]:
    """A passage as the answer was made from it: its text with its hash, its score and its place in the search."""
    text = found.passage.text
    return {
        "id": found.passage.id,
        "document_id": found.passage.document_id,
        "title": found.passage.title,
        "text": text,
        "sha256": hashlib.sha256(text.encode()).hexdigest(),
        "score": found.score,
        "place": found.place,
    }
