"""The bounds and delays that all brokers share, and what a handler's end means for its message."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import structlog

from ragline.broker import Handler, Message, NewMessage, Poison, Unfinished
from ragline.errors import RaglineError, TooLarge

MAX_REASON = 500  # characters of a dead letter's reason
DIED = "its consumer died {deaths} times while handling it"

log = structlog.get_logger(__name__)


@dataclass(frozen=True)
class Policy:
    """The bounds and delays of a broker.

    The n-th retry waits ``retry_s`` x 4^(n-1), at most ``max_retry_s``; what is unfinished comes again after
    ``soon_s``. A message is parked when its handler has raised ``max_attempts`` times, or when more than
    ``max_deaths`` consumers died over it: a death is seldom the message's fault, so it counts apart. ``drain_s``
    is what handlers get to finish when a consumer stops.
    """

    max_messages: int = 100_000
    max_message_mb: int = 16
    max_dead: int = 100_000
    max_attempts: int = 5
    max_deaths: int = 20
    retry_s: float = 1.0
    max_retry_s: float = 60.0
    soon_s: float = 0.2
    drain_s: float = 10.0

    def delay_s(self, attempt: int, *, spread: bool = True) -> float:
        """How long to wait after the ``attempt``-th try failed.

        A fifth more or less if ``spread``, so that what failed together does not come again together.
        """
        factor = random.SystemRandom().uniform(0.8, 1.2) if spread else 1.0
        # The exponent is bounded: 4 to the power of a large setting is no float any more.
        return min(self.max_retry_s, self.retry_s * 4.0 ** min(attempt - 1, 50) * factor)

    def refuse_large(self, messages: Sequence[NewMessage]) -> None:
        """Raise TooLarge for what could never fit."""
        if len(messages) > self.max_messages:
            raise TooLarge(
                f"{len(messages)} messages at once never fit a queue of {self.max_messages} (max_messages)."
            )
        limit = self.max_message_mb
        if any(len(message.body) > limit * 1_000_000 for message in messages):
            raise TooLarge(
                f"A message is larger than {limit} MB (max_message_mb); store its content and send a name."
            )

    def full(self, queue: str, waiting: int, dead: int, more: int) -> str:
        """Why ``more`` messages cannot go in; empty when they can."""
        if dead >= self.max_dead:
            return f"The queue {queue} has {dead} dead letters; replay or purge them."
        if waiting + more > self.max_messages:
            return f"The queue {queue} is full: {waiting} of {self.max_messages} messages wait (max_messages)."
        return ""


@dataclass(frozen=True)
class Outcome:
    """How an attempt ended: done, or to be parked for a reason, or to be made again (``counted`` or not)."""

    park: str = ""
    again: bool = False
    counted: bool = True


DONE = Outcome()
UNFINISHED = Outcome(again=True, counted=False)


async def attempt(
    handler: Handler, queue: str, message: Message, max_attempts: int, stopping: Callable[[], bool]
) -> Outcome:
    """Let the handler have the message. Raises CancelledError only when the consumer is stopping."""
    try:
        await handler(message)
    except Poison as error:
        reason = sentence(error)
        log.error("message is poison", queue=queue, message=message.id, reason=reason)  # noqa: TRY400
        return Outcome(park=reason)
    except Unfinished:
        return UNFINISHED
    except asyncio.CancelledError:
        if stopping():
            raise
        reason = "its handler was cancelled"
    except Exception as error:  # whatever a handler raises means: not handled, try again
        log.warning("message failed", queue=queue, message=message.id, attempt=message.attempt, exc_info=error)
        reason = sentence(error)
    else:
        return DONE
    return Outcome(park=reason) if message.attempt >= max_attempts else Outcome(again=True)


def sentence(error: BaseException) -> str:
    """What a failure says, in one bounded line; never a stack trace."""
    if isinstance(error, Poison | RaglineError) and str(error):
        text = str(error)
    else:
        text = f"{type(error).__name__}: {error}".rstrip(": ")
    return " ".join(text.split())[:MAX_REASON]
