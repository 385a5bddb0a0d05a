"""Asks one scorer for one request: within its time, not while it is broken, no longer than the caller waits."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import AbstractContextManager, ExitStack
from weakref import WeakKeyDictionary

import structlog

from ragline import context
from ragline.breaker import Breaker
from ragline.errors import Internal, InvalidRequest, Overloaded, RaglineError, TimedOut, TooLarge, Unavailable
from services.reranker.roster import Loaded

FIRST_PAUSE_S, LONGEST_PAUSE_S = 1.0, 30.0
STUCK = 16  # calls of one scorer that were given up and have not ended: more, and it gets no new ones
CALLERS = (InvalidRequest, TooLarge)  # what is the caller's to mend

log = structlog.get_logger(__name__)

Work = Callable[[Loaded], Awaitable[None]]


class Failed(Exception):
    """A scorer did not answer: ``reason`` in a word, and the error.

    ``fair`` is false where that says nothing of the scorer, such as when the caller gave it too little time.
    """

    def __init__(self, reason: str, error: Exception, *, fair: bool = True) -> None:
        super().__init__(reason)
        self.reason = reason
        self.error = error
        self.fair = fair


class Attempts:
    """Asks scorers, each behind a breaker that opens after ``after`` failures in a row; belongs to one loop.

    ``prefix`` tells the breakers' names from those of others that ask the same scorers.
    """

    def __init__(self, after: int, prefix: str = "") -> None:
        self.after = after
        self.prefix = prefix
        self.breakers: WeakKeyDictionary[Loaded, Breaker] = WeakKeyDictionary()
        self.stuck: WeakKeyDictionary[Loaded, set[asyncio.Task[None]]] = WeakKeyDictionary()

    def breaker(self, loaded: Loaded) -> Breaker:
        """The breaker of a scorer: of this one, not of another that was loaded by its name before."""
        if loaded not in self.breakers:
            self.breakers[loaded] = Breaker(
                self.prefix + loaded.name,
                what="scorer",
                first_s=FIRST_PAUSE_S,
                longest_s=LONGEST_PAUSE_S,
                after=self.after,
            )
        return self.breakers[loaded]

    async def run(
        self, lease: AbstractContextManager[Loaded], work: Work, seconds: float, *, fair: bool = True
    ) -> None:
        """Do ``work`` with the scorer of ``lease`` in at most ``seconds``; raises Failed where that fails.

        The lease ends when the work has, also where that is after it was given up. Running out of time counts
        against the scorer only where the time was ``fair``. InvalidRequest and TooLarge are raised as they are.
        """
        with ExitStack() as held:
            loaded = held.enter_context(lease)
            breaker = self.breaker(loaded)
            if not breaker.admit():
                raise Failed("skipped", Unavailable(f"The scorer {loaded.name} failed of late; it is left alone."))
            try:
                await self.limited(loaded, held, work, seconds)
            except CALLERS:
                breaker.left()
                raise
            except Exception as error:  # whatever anybody's scorer raises: the next one is asked
                failed = explained(loaded.name, error, fair=fair)
                if failed.fair:
                    breaker.failed(error)
                else:
                    breaker.left()
                raise failed from error
            except BaseException:
                breaker.left()
                raise
            breaker.passed()

    async def limited(self, loaded: Loaded, held: ExitStack, work: Work, seconds: float) -> None:
        """Do the work in a task of its own, which is given up when the time is over or the caller leaves."""
        stuck = self.stuck.setdefault(loaded, set())
        if len(stuck) >= STUCK:
            raise Overloaded(f"{len(stuck)} calls of the scorer {loaded.name} were given up and have not ended.")
        task = asyncio.create_task(in_time(work, loaded, seconds))
        until_done = held.pop_all()
        task.add_done_callback(lambda _: until_done.close())
        await give_up_after(task, seconds, stuck)


async def in_time(work: Work, loaded: Loaded, seconds: float) -> None:
    """Do the work with its end as the deadline, so that what waits for others there gives up in time itself."""
    with context.bind(timeout_s=seconds):
        await work(loaded)


async def give_up_after(task: asyncio.Task[None], seconds: float, stuck: set[asyncio.Task[None]]) -> None:
    """Wait for a task, at most so long; then, or where the caller leaves, it is cancelled and not waited for.

    Until it has ended it is among ``stuck``. Raises TimedOut, and what the task raised.
    """
    try:
        done, _ = await asyncio.wait({task}, timeout=max(seconds, 0.0))
    except asyncio.CancelledError:
        leave(task, stuck)
        raise
    if not done:
        leave(task, stuck)
        raise TimedOut(f"It took longer than {seconds:.3g} s.")
    if task.cancelled():
        raise Unavailable("It was cancelled from within.")
    task.result()


def leave(task: asyncio.Task[None], stuck: set[asyncio.Task[None]]) -> None:
    """Cancel a task that nobody waits for any more."""

    def ended(task: asyncio.Task[None]) -> None:
        stuck.discard(task)
        if not task.cancelled():
            task.exception()  # looked at, or it would be reported as overlooked

    stuck.add(task)
    task.add_done_callback(ended)
    task.cancel()


def explained(name: str, error: Exception, *, fair: bool) -> Failed:
    """What a scorer's error comes to; one that nobody foresaw is logged with its trace."""
    if not isinstance(error, RaglineError):
        log.error("scorer failed", scorer=name, exc_info=error)
        return Failed("error", error)
    reason = REASONS.get(type(error), "refused")
    log.warning("scorer did not answer", scorer=name, reason=reason, error=error.detail)
    return Failed(reason, error, fair=fair or not isinstance(error, TimedOut))


REASONS: dict[type[RaglineError], str] = {
    TimedOut: "timed_out",
    Unavailable: "unavailable",
    Overloaded: "overloaded",
    Internal: "internal",
}
