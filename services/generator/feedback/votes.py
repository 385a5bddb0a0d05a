"""What people say of answers, each kept with the record of the answer as it was."""

from __future__ import annotations

import asyncio
import heapq
import time
from collections.abc import AsyncGenerator
from dataclasses import dataclass, replace
from typing import Any, Literal
from urllib.parse import quote

from ragline import metrics
from ragline.context import accepted_id, new_id
from ragline.entries import Entries
from ragline.errors import NotFound, Overloaded, Refused
from services.generator.events import Question
from services.generator.feedback.records import AnswerRecords, now, packed, unpacked
from services.generator.steps import Guards

Rating = Literal["up", "down"]

# Another replica may have made the answer a moment ago, and be about to write its record.
LATE_S = (0.05, 0.2)


@dataclass(frozen=True)
class Vote:
    """What someone says of an answer; ``corrected_answer`` is what it should have been."""

    answer_id: str
    rating: Rating
    comment: str = ""
    corrected_answer: str = ""
    tags: tuple[str, ...] = ()


@dataclass(frozen=True)
class Wanted:
    """Which votes: of a tenant, after ``after`` (a cursor), within times in seconds since 1970."""

    tenant: str
    after: str = ""
    since_s: float = 0.0
    until_s: float = 9_999_999_999.0
    collection: str = ""
    rating: str = ""


class Votes:
    """Kept for ``ttl_s``, at most ``limit`` an answer. ``guards``, if any, mask what may not be stored."""

    def __init__(
        self, entries: Entries, records: AnswerRecords, ttl_s: float, limit: int, guards: Guards | None
    ) -> None:
        self.entries = entries
        self.records = records
        self.ttl_s = ttl_s
        self.limit = limit
        self.guards = guards
        self.counted = metrics.counter("ragline_feedback", "Feedback on answers, by its rating.", ("rating",))

    async def give(self, tenant: str, vote: Vote) -> dict[str, Any]:
        """Keep a vote; returns its fields.

        Raises NotFound for an answer that nothing is known of, Overloaded for one that has too many, Unavailable.
        """
        answer = await self.find(tenant, vote.answer_id)
        mine = f"votes:{quote(tenant, safe='')}:{vote.answer_id}"
        if len(await self.entries.read(mine)) >= self.limit:
            raise Overloaded(
                f"This answer has {self.limit} pieces of feedback already (GENERATOR_MAX_FEEDBACK); one more says "
                "little.",
                retry_after_s=86_400,
            )
        collection = answer["collection"]
        comment = await self.clean(tenant, collection, vote.comment)
        corrected = await self.clean(tenant, collection, vote.corrected_answer)
        given = {
            "id": new_id(),
            "at": now(),
            "answer_id": vote.answer_id,
            "rating": vote.rating,
            "comment": comment,
            "corrected_answer": corrected,
            "tags": list(vote.tags),
        }
        key = f"{prefix(tenant)}{time.time_ns():019d}-{given['id']}"
        body = packed({**given, "answer": answer})
        await self.entries.append(key, body, ttl_s=self.ttl_s, limit=1)
        await self.entries.append(mine, key.encode(), ttl_s=self.ttl_s, limit=self.limit)
        self.counted.labels(vote.rating).inc()
        return given

    async def find(self, tenant: str, answer_id: str) -> dict[str, Any]:
        """The record of an answer; raises NotFound with the way out."""
        if accepted_id(answer_id):
            for pause_s in (*LATE_S, None):
                if found := await self.records.find(tenant, answer_id):
                    return found
                if pause_s:
                    await asyncio.sleep(pause_s)
        days = self.records.ttl_s / 86_400
        raise NotFound(
            f"There is no record of an answer {answer_id[:64]!r}. Send the `id` that /generate gave; records "
            f"are kept for {days:g} days (GENERATOR_RECORDS_TTL_S)."
        )

    async def clean(self, tenant: str, collection: str, text: str) -> str:
        """The text as the guards let a question be asked; empty where they refuse it."""
        if not self.guards or not text:
            return text
        try:
            masked, _ = await self.guards.question(Question(tenant, collection, text, 1, 1))
        except Refused:
            return ""
        return masked.query

    async def keys(self, wanted: Wanted, count: int) -> list[str]:
        """The first ``count`` keys of the votes within the times, oldest first; all are looked at."""
        begin = prefix(wanted.tenant)
        first = max(begin + wanted.after, f"{begin}{int(wanted.since_s * 1e9):019d}")
        last = f"{begin}{int(wanted.until_s * 1e9):019d}"
        found = {key async for key in self.entries.keys(begin) if first < key < last}
        return heapq.nsmallest(count, found)

    async def read(self, key: str) -> dict[str, Any] | None:
        """A vote with its answer, and its cursor; None where it is gone by now."""
        kept = await self.entries.read(key)
        return {"cursor": key.rpartition(":")[2], **unpacked(kept[-1])} if kept else None

    async def listed(self, wanted: Wanted, count: int) -> AsyncGenerator[dict[str, Any], None]:
        """At most ``count`` votes that are wanted, oldest first."""
        found = 0
        while keys := await self.keys(wanted, count):
            for key in keys:
                vote = await self.read(key)
                wanted = replace(wanted, after=key.rpartition(":")[2])
                if vote and suits(vote, wanted):
                    yield vote
                    found += 1
                    if found == count:
                        return


def prefix(tenant: str) -> str:
    """What the keys of a tenant's votes begin with; the time follows, so that they sort by it."""
    return f"feedback:{quote(tenant, safe='')}:"


def suits(vote: dict[str, Any], wanted: Wanted) -> bool:
    """Whether it is of the collection and has the rating that are wanted."""
    return wanted.collection in {"", vote["answer"]["collection"]} and wanted.rating in {"", vote["rating"]}
