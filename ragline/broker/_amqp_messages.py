"""How a message travels in AMQP: its own properties and headers, and what of a foreign message can be kept."""

from __future__ import annotations

import hashlib
import secrets
import time
import uuid
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from typing import Any

from aiormq import spec
from aiormq.abc import DeliveredMessage

from ragline.broker import DeadLetter, Message, NewMessage

KEY = "ragline-key"
ATTEMPTS = "ragline-attempts"  # how often a handler failed at it
REASON = "ragline-reason"
PARKED_AT = "ragline-parked-at"  # milliseconds since the epoch
COPY = "ragline-copy"  # how often it was published again: an id and a copy are handled once
DEATHS = "x-delivery-count"  # RabbitMQ's: how often a consumer went away without a word
OWN = (KEY, ATTEMPTS, COPY, REASON, PARKED_AT)
PERSISTENT = 2


@dataclass(frozen=True)
class Letter:
    """A message as it is in a queue: ``headers`` are foreign ones, ``deaths`` those of its consumers."""

    id: str
    body: bytes
    key: str = ""
    attempts: int = 0
    copy: int = 0
    deaths: int = 0
    reason: str = ""
    parked_at: float = 0.0
    headers: Mapping[str, str | int | bool] = field(default_factory=dict)
    content_type: str | None = None

    def message(self) -> Message:
        """What a handler gets."""
        return Message(self.id, self.body, self.key, self.attempts + 1)

    def dead(self) -> DeadLetter:
        """What a list of the parked shows."""
        return DeadLetter(self.id, self.body, self.key, self.attempts, self.reason or "not known", self.parked_at)

    def tried(self, *, counted: bool) -> Letter:
        """The same after one more attempt, ``counted`` or not."""
        return replace(self, attempts=self.attempts + counted, copy=self.copy + 1)

    def parked(self, reason: str) -> Letter:
        """The same, given up; deaths count as attempts then."""
        return replace(self, attempts=self.attempts + self.deaths, reason=reason, parked_at=time.time())

    def fresh(self) -> Letter:
        """The same, as if it had just been published."""
        return replace(self, attempts=0, copy=self.copy + 1, reason="", parked_at=0.0)

    def properties(self) -> spec.Basic.Properties:
        """The properties that it travels with."""
        own: dict[str, str | int | bool] = {ATTEMPTS: self.attempts, COPY: self.copy}
        if self.key:
            own[KEY] = self.key
        if self.reason:
            own |= {REASON: self.reason, PARKED_AT: round(self.parked_at * 1000)}
        return spec.Basic.Properties(
            message_id=self.id,
            delivery_mode=PERSISTENT,
            content_type=self.content_type,
            timestamp=datetime.now(UTC),
            headers={**self.headers, **own},
        )


def written(message: NewMessage) -> Letter:
    """The letter of a new message."""
    return Letter(uuid.uuid4().hex, message.body, message.key)


def read(delivered: DeliveredMessage) -> Letter:
    """The letter in a delivery, whoever published it: what is missing or of another kind gets a default."""
    properties = delivered.header.properties
    headers: Mapping[str, Any] = properties.headers or {}
    return Letter(
        # Of equal foreign messages nobody could tell one from the other anyway.
        id=properties.message_id or hashlib.sha256(delivered.body).hexdigest()[:32],
        body=delivered.body,
        key=text(headers.get(KEY)),
        attempts=number(headers.get(ATTEMPTS)),
        # A foreign message is never taken for one that was handled before.
        copy=number(headers[COPY]) if COPY in headers else secrets.randbelow(1 << 48),
        deaths=number(headers.get(DEATHS)),
        reason=text(headers.get(REASON)) or text(headers.get("x-first-death-reason")),
        parked_at=number(headers.get(PARKED_AT)) / 1000,
        headers=foreign(headers),
        content_type=properties.content_type,
    )


def foreign(headers: Mapping[str, Any]) -> dict[str, str | int | bool]:
    """The headers to hand on: neither ours nor the server's, and simple enough to be written again."""
    return {
        name: value
        for name, value in headers.items()
        if name not in OWN and not name.startswith("x-") and isinstance(value, str | int)
    }


def text(value: object) -> str:
    """A header that should be text."""
    return value.decode(errors="replace") if isinstance(value, bytes | bytearray) else str(value or "")


def number(value: object) -> int:
    """A header that should be a count."""
    return max(0, value) if isinstance(value, int) else 0
