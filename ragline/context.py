"""What belongs to the request in hand: its id, the time it has left and for whom it is, in context variables."""

from __future__ import annotations

import re
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass

from structlog.contextvars import bound_contextvars

from ragline.errors import TimedOut

ACCEPTED_ID = re.compile(r"[A-Za-z0-9._-]{1,128}")


@dataclass(frozen=True)
class Caller:
    """For whom work is done: a tenant, and one of its clients, such as a session; empty where not known."""

    tenant: str = ""
    client: str = ""


_request_id: ContextVar[str] = ContextVar("ragline_request_id", default="")
_deadline: ContextVar[float | None] = ContextVar("ragline_deadline", default=None)
_caller: ContextVar[Caller] = ContextVar("ragline_caller", default=Caller())  # noqa: B039 - it is frozen


def request_id() -> str:
    """The id of the request in hand; empty outside of one."""
    return _request_id.get()


def new_id() -> str:
    """A request id that nothing else has."""
    return uuid.uuid4().hex


def accepted_id(given: str | None) -> str | None:
    """``given`` if it may serve as a request id; None otherwise, so that no log line can be forged with it."""
    return given if given and ACCEPTED_ID.fullmatch(given) else None


def caller() -> Caller:
    """For whom the request in hand is; nobody in particular outside of one."""
    return _caller.get()


def deadline() -> float | None:
    """When the request in hand must be done, on ``time.monotonic``'s clock; None: no such time."""
    return _deadline.get()


def remaining_s(default: float) -> float:
    """Seconds until the deadline, or ``default`` where there is none; raises TimedOut once it has passed."""
    end = _deadline.get()
    if end is None:
        return default
    left = end - time.monotonic()
    if left <= 0:
        raise TimedOut("The deadline of this request has passed; allow it more time.")
    return left


@contextmanager
def bind(
    request_id: str | None = None, timeout_s: float | None = None, *, caller: Caller | None = None
) -> Iterator[str]:
    """Make what runs inside part of one request; yields its id.

    Without an id from the caller the id in force stays, or a new one is made. The earlier of two
    deadlines holds, so work inside can never outlive what it is part of. Every log line carries the id.
    Without a ``caller`` the one in force stays.
    """
    identity = request_id or _request_id.get() or new_id()
    ends = [_deadline.get(), None if timeout_s is None else time.monotonic() + timeout_s]
    id_token = _request_id.set(identity)
    deadline_token = _deadline.set(min((end for end in ends if end is not None), default=None))
    caller_token = _caller.set(caller or _caller.get())
    try:
        with bound_contextvars(request_id=identity):
            yield identity
    finally:
        _caller.reset(caller_token)
        _deadline.reset(deadline_token)
        _request_id.reset(id_token)
