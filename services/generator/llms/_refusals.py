"""What a failure of an LLM's server means: for the caller, for the server's standing, and for trying again."""

from __future__ import annotations

import openai
import structlog

from ragline import retry_after
from ragline.errors import InvalidRequest, RaglineError, TimedOut, TooLarge, Unavailable

WORDS = 200

log = structlog.get_logger(__name__)


class Refusal(Exception):
    """One endpoint did not answer.

    ``outcome`` is what it is counted as; ``again``: the same may work in a moment, ``after_s`` seconds where the
    server said so; ``elsewhere``: another endpoint may do better.
    """

    def __init__(
        self,
        error: RaglineError,
        outcome: str,
        *,
        again: bool = False,
        elsewhere: bool = True,
        after_s: float | None = None,
    ) -> None:
        super().__init__(error.detail)
        self.error = error
        self.outcome = outcome
        self.again = again
        self.elsewhere = elsewhere
        self.after_s = after_s


def refusal(error: Exception, name: str, endpoint: str) -> Refusal:
    """What went wrong before anything was said; what only the operator can mend goes to the log."""
    match error:
        case openai.APIStatusError():
            return status(error, name, endpoint)
        case openai.APITimeoutError() | TimeoutError():
            return Refusal(TimedOut(f"The server of {name} did not begin to answer."), "timeout", again=True)
        case openai.APIConnectionError() | OSError():
            return Refusal(Unavailable(f"The server of {name} cannot be reached."), "unreachable", again=True)
    log.warning(
        "the LLM's server says nothing sensible", endpoint=endpoint, reason=f"{type(error).__name__}: {error}"
    )
    return Refusal(Unavailable(f"The server of {name} said nothing that is an answer."), "garbage", again=True)


def status(error: openai.APIStatusError, name: str, endpoint: str) -> Refusal:
    """What a status of the server means."""
    after_s = retry_after.seconds(error.response.headers.get("retry-after", ""))
    match error:
        case openai.RateLimitError():
            busy = Unavailable(f"The server of {name} takes no more requests now.", retry_after_s=after_s or 1.0)
            return Refusal(busy, "busy", again=True, after_s=after_s)
        case openai.AuthenticationError() | openai.PermissionDeniedError() | openai.NotFoundError():
            log.error("the LLM's server refuses us", endpoint=endpoint, status=error.status_code)
            wrong = f"The server of {name} refuses this service: its key, model or base_url is wrong."
            return Refusal(Unavailable(wrong), "refused")
        case openai.BadRequestError() if error.code == "content_filter":
            withheld = f"The server of {name} withholds an answer by its content filter."
            return Refusal(Unavailable(withheld), "rejected", elsewhere=False)
        case openai.BadRequestError() if "context" in error.message.lower():
            long = f"The prompt is longer than {name} can take; set its option context to what it has."
            return Refusal(TooLarge(long), "rejected", elsewhere=False)
        case openai.BadRequestError() | openai.UnprocessableEntityError():
            wrong = f"The server of {name} does not accept the request: {error.message[:WORDS]}"
            return Refusal(InvalidRequest(wrong), "rejected", elsewhere=False)
    failed = f"The server of {name} failed with status {error.status_code}."
    again = error.status_code >= 500 or error.status_code in {408, 409, 425}
    return Refusal(
        Unavailable(failed, retry_after_s=after_s or 1.0),
        "failed",
        again=again,
        after_s=after_s if again else None,
    )
