"""Loads a scorer beside the one that serves, and hands it out only if it works; else nothing of it stays."""

from __future__ import annotations

import asyncio
import dataclasses
import threading
import traceback
from collections.abc import Callable, Sequence
from contextvars import Context
from dataclasses import dataclass
from pathlib import Path
from typing import NoReturn

import structlog

from ragline.errors import Conflict, InvalidRequest, RaglineError, Unavailable
from ragline.settings import SettingsError
from services.reranker import memory
from services.reranker.probe import Question, Report, probe, sound
from services.reranker.roster import Loaded, close, give_memory_back, hook
from services.reranker.scorers import Parts, Scorer
from services.reranker.scorers._open import open_scorer
from services.reranker.settings import Choice

MB = 1 << 20
MAX_LOST = 3  # openings that went on past their time; each may hold a model, so there are not any number
MAX_REASON = 600  # characters of what a scorer's own code says of its failure
NO_MEMORY = ("bad_alloc", "failed to allocate", "out of memory", "cannot allocate memory")

log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Bounds:
    """What loading may take: the settings of the same names."""

    timeout_s: float = 120.0
    memory_factor: float = 3.0
    probe_limit_ms: float = 2000.0


class Loader:
    """Loads one scorer at a time; ``room`` says how many bytes of memory are left (None: not known)."""

    def __init__(
        self,
        parts: Parts,
        bounds: Bounds,
        questions: Sequence[Question],
        room: Callable[[], int | None] = memory.room,
    ) -> None:
        self.parts = parts
        self.bounds = bounds
        self.questions = questions
        self.room = room
        self.loading: str | None = None
        self.opening = 0
        self.closing: set[asyncio.Task[None]] = set()

    async def load(
        self, name: str | None, choice: Choice, *, serving: Scorer | None = None, judged: bool = True
    ) -> Loaded:
        """The scorer, opened, started, warm and probed; ``name`` None takes its own. ``judged`` False asks it
        only for sound scores, not for speed and for what it knows.

        Raises Conflict while another is loaded, InvalidRequest for one that is no good and Unavailable for one
        that there is no memory for, that took too long or that waits for something; each with the reason.
        """
        self.claim(choice.scorer)
        scorer: Scorer | None = None
        try:
            async with asyncio.timeout(self.bounds.timeout_s):
                scorer = await self.opened(choice)
                await hook(scorer, "start")()
                await hook(scorer, "check")()
                report = await self.tried(scorer, serving, judged=judged)
            return Loaded(name or scorer.name, scorer, choice, report)
        except BaseException as error:  # noqa: BLE001 - anybody's code; what was opened is closed whatever it was
            failure = error.with_traceback(None)
            if scorer is not None:
                await asyncio.shield(self.dropped(scorer))
            scorer = None
            self.refuse(choice.scorer, failure)
        finally:
            self.loading = None

    async def retry(self, loaded: Loaded, *, serving: Scorer | None = None) -> Report | None:
        """Probe a scorer that is loaded already; raises as ``load`` does, and leaves it loaded."""
        self.claim(loaded.choice.scorer)
        try:
            async with asyncio.timeout(self.bounds.timeout_s):
                return await self.tried(loaded.scorer, serving, judged=True)
        except BaseException as error:  # noqa: BLE001 - as in load
            self.refuse(loaded.name, error.with_traceback(None))
        finally:
            self.loading = None

    def claim(self, scorer: str) -> None:
        """Begin; raises Conflict while another is at it, and Unavailable after too many that never ended."""
        if self.loading is not None:
            raise Conflict(f"The scorer {self.loading} is being loaded; wait until that has ended.")
        if self.opening >= MAX_LOST:
            raise Unavailable(
                f"{self.opening} scorers that took too long are still at their loading; restart the reranker."
            )
        self.loading = scorer

    async def tried(self, scorer: Scorer, serving: Scorer | None, *, judged: bool) -> Report | None:
        """What the probe says; it warms the scorer with the longest input, too."""
        if not judged:
            await sound(scorer)
            return None
        return await probe(scorer, self.questions, limit_ms=self.bounds.probe_limit_ms, serving=serving)

    async def opened(self, choice: Choice) -> Scorer:
        """The scorer, opened in a thread of its own: the event loop serves on, and one that hangs holds nobody."""
        loop = asyncio.get_running_loop()
        future: asyncio.Future[Scorer] = loop.create_future()

        def arrived(scorer: Scorer | None, failure: RaglineError | None) -> None:
            self.opening -= 1
            if scorer is not None and future.done():  # nobody waits any more
                task = loop.create_task(self.dropped(scorer), context=Context())
                self.closing.add(task)
                task.add_done_callback(self.closing.discard)
            elif scorer is not None:
                future.set_result(scorer)
            elif failure is not None and not future.done():
                future.set_exception(failure)

        def work() -> None:
            scorer, failure = None, None
            try:
                scorer = open_scorer(choice.scorer, self.measured(), choice.options)
            except BaseException as error:  # noqa: BLE001 - anybody's code, which may even try to end the process
                failure = explained(error)
            if not loop.is_closed():
                loop.call_soon_threadsafe(arrived, scorer, failure)

        self.opening += 1
        # A daemon: the process can end while it hangs, which a pool's threads would not let it.
        threading.Thread(target=work, name="scorer-loading", daemon=True).start()
        return await future

    def measured(self) -> Parts:
        """The parts, with models that are refused before they are read if memory is too small for them."""
        seen: set[Path] = set()

        def model(name: str) -> Path:
            folder = self.parts.model(name)
            if folder not in seen:
                seen.add(folder)
                self.fits(name, memory.weights_bytes(folder))
            return folder

        return dataclasses.replace(self.parts, model=model)

    def fits(self, model: str, size: int) -> None:
        """Raise Unavailable where a model of ``size`` bytes would take more memory than is left."""
        left, factor = self.room(), self.bounds.memory_factor
        if left is not None and size * factor > left:
            raise Unavailable(
                f"the weights of {model} are {size / MB:.0f} MB, which needs about {size * factor / MB:.0f} MB of "
                f"memory (RERANKER_LOAD_MEMORY_FACTOR={factor:g}), and {left / MB:.0f} MB are left"
            )

    async def dropped(self, scorer: Scorer) -> None:
        """Close a scorer that is not wanted and give its memory back."""
        await close(scorer)
        del scorer
        await asyncio.to_thread(give_memory_back)

    def refuse(self, scorer: str, error: BaseException) -> NoReturn:
        """Raise what the caller is told."""
        if isinstance(error, asyncio.CancelledError | KeyboardInterrupt | GeneratorExit):
            raise error
        if isinstance(error, TimeoutError):
            limit = f"RERANKER_LOAD_TIMEOUT_S={self.bounds.timeout_s:g}"
            error = Unavailable(f"it was not ready within {limit}")
        failure = explained(error)
        text = f"The scorer {scorer} is refused: {failure.detail.rstrip('.')}."
        log.warning("scorer refused", scorer=scorer, reason=failure.detail)
        if isinstance(failure, Unavailable):
            raise Unavailable(text) from None
        raise InvalidRequest(text, field="scorer") from None


def explained(error: BaseException) -> RaglineError:
    """What a failure means to whoever chose the scorer: Unavailable where the same may work later."""
    text = str(error)[:MAX_REASON]
    if isinstance(error, Unavailable):
        return Unavailable(text)
    if isinstance(error, SettingsError | RaglineError):
        return InvalidRequest(text)
    if isinstance(error, MemoryError) or any(sign in text.lower() for sign in NO_MEMORY):
        return Unavailable(f"there was not enough memory for it ({text or type(error).__name__})")
    # As text: a log that shows the variables of a trace would show what is secret in the options.
    log.error("scorer failed", trace="".join(traceback.format_exception(error)))
    return InvalidRequest(f"its code raised {type(error).__name__}: {text}" if text else type(error).__name__)
