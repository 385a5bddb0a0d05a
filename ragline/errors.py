"""Every failure a caller can see, with its gRPC and its HTTP status: one table, read both ways."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any, ClassVar

import grpc

PROBLEM_TYPE = "about:blank"
MAX_EXTRA_BYTES = 16_384  # what goes beside a gRPC status is metadata, and that is bounded on the way


class RaglineError(Exception):
    """A failure that a caller may see.

    ``detail`` is one sentence that says what is wrong and the way out. ``field`` names the offending
    input (``documents[3].text``); ``errors`` lists several such fields. ``retry_after_s`` is in seconds.
    """

    grpc_status: ClassVar[grpc.StatusCode] = grpc.StatusCode.INTERNAL
    http_status: ClassVar[int] = 500
    title: ClassVar[str] = "Internal error"

    def __init__(
        self,
        detail: str,
        *,
        field: str | None = None,
        errors: tuple[Mapping[str, str], ...] = (),
        retry_after_s: float | None = None,
    ) -> None:
        super().__init__(detail)
        self.detail = detail
        self.errors = errors or (({"field": field, "detail": detail},) if field else ())
        self.retry_after_s = retry_after_s

    def problem(self, instance: str = "") -> dict[str, Any]:
        """The RFC 9457 problem document; ``instance`` is the request id."""
        body: dict[str, Any] = {
            "type": PROBLEM_TYPE,
            "title": self.title,
            "status": self.http_status,
            "detail": self.detail,
        }
        if instance:
            body["instance"] = instance
        if self.errors:
            body["errors"] = [dict(error) for error in self.errors]
        return body

    def to_bytes(self) -> bytes:
        """What travels beside the gRPC status, so that the caller gets the same error again.

        Of very many or very long ``errors`` only the first are sent, as many as fit the bound.
        """
        errors = [dict(error) for error in self.errors]
        while True:
            extra = json.dumps({"errors": errors, "retry_after_s": self.retry_after_s}).encode()
            if len(extra) <= MAX_EXTRA_BYTES or not errors:
                return extra
            errors = errors[: len(errors) // 2]


class InvalidRequest(RaglineError):
    """The request is wrong in itself; sending it again will not help."""

    grpc_status = grpc.StatusCode.INVALID_ARGUMENT
    http_status = 400
    title = "Invalid request"


class Unauthenticated(RaglineError):
    """No valid credential came with the request."""

    grpc_status = grpc.StatusCode.UNAUTHENTICATED
    http_status = 401
    title = "Not authenticated"


class Forbidden(RaglineError):
    """The credential does not allow this."""

    grpc_status = grpc.StatusCode.PERMISSION_DENIED
    http_status = 403
    title = "Forbidden"


class NotFound(RaglineError):
    """The thing named does not exist."""

    grpc_status = grpc.StatusCode.NOT_FOUND
    http_status = 404
    title = "Not found"


class Conflict(RaglineError):
    """The request contradicts what is stored."""

    grpc_status = grpc.StatusCode.ALREADY_EXISTS
    http_status = 409
    title = "Conflict"


class Mismatch(RaglineError):
    """The system is not in the state that the request needs, such as another embedder's collection.

    ``wanted`` is the fingerprint of the embedder that would do, where that is what is wrong.
    """

    grpc_status = grpc.StatusCode.FAILED_PRECONDITION
    http_status = 412
    title = "Precondition failed"

    def __init__(self, detail: str, *, wanted: str = "") -> None:
        fault = {"field": "fingerprint", "detail": detail, "wanted": wanted}
        super().__init__(detail, errors=(fault,) if wanted else ())

    @property
    def wanted(self) -> str:
        """The embedder that would do; empty where the failure is of another kind."""
        return next((error["wanted"] for error in self.errors if "wanted" in error), "")


class TooLarge(RaglineError):
    """The request is over a limit; the detail names the limit and its setting."""

    grpc_status = grpc.StatusCode.OUT_OF_RANGE
    http_status = 413
    title = "Too large"


class Unsupported(RaglineError):
    """The content is of a kind that nothing here reads."""

    grpc_status = grpc.StatusCode.UNIMPLEMENTED
    http_status = 415
    title = "Unsupported content"


class Refused(RaglineError):
    """A guard's policy does not allow this; ``guard`` says which, where one did.

    Asked the same way it is refused again. gRPC has no status for that: this is the one of those left that says
    "ended on purpose", and nothing here tries it again.
    """

    grpc_status = grpc.StatusCode.ABORTED
    http_status = 422
    title = "Refused"

    def __init__(self, detail: str, *, field: str = "", guard: str = "") -> None:
        fault = {"field": field, "detail": detail, "guard": guard}
        super().__init__(detail, errors=(fault,) if field or guard else ())

    @property
    def guard(self) -> str:
        """The guard that refused; empty where it is not known."""
        return next((error["guard"] for error in self.errors if "guard" in error), "")


class Overloaded(RaglineError):
    """A queue is full; come back after ``retry_after_s``."""

    grpc_status = grpc.StatusCode.RESOURCE_EXHAUSTED
    http_status = 429
    title = "Too many requests"

    def __init__(self, detail: str, *, retry_after_s: float = 1.0) -> None:
        super().__init__(detail, retry_after_s=retry_after_s)


class Cancelled(RaglineError):
    """The caller went away."""

    grpc_status = grpc.StatusCode.CANCELLED
    http_status = 499
    title = "Cancelled"


class Unavailable(RaglineError):
    """Something this needs does not answer; trying again later may work."""

    grpc_status = grpc.StatusCode.UNAVAILABLE
    http_status = 503
    title = "Unavailable"

    def __init__(self, detail: str, *, retry_after_s: float = 1.0) -> None:
        super().__init__(detail, retry_after_s=retry_after_s)


class TimedOut(RaglineError):
    """The deadline passed before the work was done."""

    grpc_status = grpc.StatusCode.DEADLINE_EXCEEDED
    http_status = 504
    title = "Timed out"


class Internal(RaglineError):
    """Anything else: the text is withheld from the caller and logged with its trace."""

    def __init__(self, detail: str = "Something went wrong here; the log has the request id.") -> None:
        super().__init__(detail)


TABLE: tuple[type[RaglineError], ...] = (
    InvalidRequest,
    Unauthenticated,
    Forbidden,
    NotFound,
    Conflict,
    Mismatch,
    TooLarge,
    Unsupported,
    Refused,
    Overloaded,
    Cancelled,
    Unavailable,
    TimedOut,
    Internal,
)
BY_GRPC = {error.grpc_status: error for error in TABLE}
BY_HTTP = {error.http_status: error for error in TABLE}


def from_grpc(status: grpc.StatusCode, detail: str, extra: bytes = b"") -> RaglineError:
    """The error that a gRPC status stands for; ``extra`` is what ``to_bytes`` gave on the other side.

    The text of a status that is no row of the table was not written for callers and is withheld.
    """
    kind = BY_GRPC.get(status)
    error = kind(detail or kind.title) if kind else Internal()
    if extra:
        error.errors, error.retry_after_s = restored(extra)
    return error


def restored(extra: bytes) -> tuple[tuple[Mapping[str, str], ...], float | None]:
    """The errors and the seconds to wait in what ``to_bytes`` gave; nothing where it was not ours."""
    try:
        fields = json.loads(extra)
        errors = tuple({str(name): str(value) for name, value in error.items()} for error in fields["errors"])
        return errors, None if fields["retry_after_s"] is None else float(fields["retry_after_s"])
    except (ValueError, KeyError, TypeError, AttributeError):
        return (), None
