"""Which scorers are loaded, which of them serves, and who is using each: none is closed under a request."""

from __future__ import annotations

import asyncio
import ctypes
import gc
from collections.abc import Awaitable, Callable, Coroutine, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from typing import Any

import structlog

from ragline.errors import Conflict, InvalidRequest, NotFound, RaglineError
from services.reranker.probe import Report
from services.reranker.scorers import Scorer
from services.reranker.settings import Choice

CLOSE_S = 10.0  # what a scorer's close may take before it is left to itself
REPORT_S = 5.0  # how often a removal that waits says so

log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True, eq=False, weakref_slot=True)
class Loaded:
    """A scorer, the name that requests call it by, what it was loaded from, and what the probe said of it."""

    name: str
    scorer: Scorer
    choice: Choice
    report: Report | None = None


@dataclass(slots=True)
class Place:
    """A loaded scorer and how many requests use it now; ``free`` is set while none does."""

    loaded: Loaded
    users: int = 0
    free: asyncio.Event = field(default_factory=asyncio.Event)


class Roster:
    """The loaded scorers by name; the first one given serves whoever names none.

    Belongs to one event loop. A name that was removed may be given again at once, while the requests that hold
    the old scorer end.
    """

    def __init__(self, loaded: Sequence[Loaded]) -> None:
        self.places: dict[str, Place] = {}
        self.leaving: list[Place] = []
        self.freeing: list[str] = []
        for each in loaded:
            self.add(each)
        self.default = loaded[0].name

    def names(self) -> list[str]:
        """The names that a request may ask for, in the order of loading."""
        return list(self.places)

    def get(self, name: str) -> Loaded:
        """What is loaded under a name; raises NotFound."""
        if name not in self.places:
            raise NotFound(f"No scorer {name!r} is loaded here; there is {self.listed()}.", field="name")
        return self.places[name].loaded

    def listed(self) -> str:
        """The names for a sentence."""
        return ", ".join(sorted(self.places))

    def add(self, loaded: Loaded) -> None:
        """Make a scorer available; raises Conflict where the name is taken."""
        if loaded.name in self.places:
            raise Conflict(f"A scorer {loaded.name!r} is loaded already; choose another name.", field="name")
        place = Place(loaded)
        place.free.set()
        self.places[loaded.name] = place

    def switch(self, name: str) -> str:
        """Let ``name`` serve whoever names no scorer; the name that did so far. Raises NotFound.

        Requests that are at work end with the scorer that they began with.
        """
        self.get(name)
        before, self.default = self.default, name
        return before

    @contextmanager
    def lease(self, name: str | None = None) -> Iterator[Loaded]:
        """The scorer ``name`` (None: the serving one), which stays open within the block.

        Raises InvalidRequest where no such scorer is loaded.
        """
        wanted = name or self.default
        if wanted not in self.places:
            raise InvalidRequest(f"No scorer {wanted!r} is loaded here; there is {self.listed()}.", field="scorer")
        place = self.places[wanted]
        place.users += 1
        place.free.clear()
        try:
            yield place.loaded
        finally:
            place.users -= 1
            if not place.users:
                place.free.set()

    def remove(self, name: str) -> Coroutine[Any, Any, None]:
        """Take a scorer away: from now on no request gets it. What is returned is to be awaited: once the last
        request that has it is done, it closes the scorer and gives its memory back.

        Raises NotFound, and Conflict for the one that serves.
        """
        self.get(name)
        if name == self.default:
            raise Conflict(f"The scorer {name!r} serves; switch to another before it is removed.", field="name")
        self.leaving.append(self.places.pop(name))
        return self.freed(self.leaving[-1])

    async def freed(self, place: Place) -> None:
        """Wait for the last request of a scorer that was taken away, close it and give its memory back."""
        name = place.loaded.name
        self.freeing.append(name)
        try:
            try:
                await self.unused(place)
            finally:
                self.leaving.remove(place)
                await close(place.loaded.scorer)
            del place
            await asyncio.to_thread(give_memory_back)
        finally:
            self.freeing.remove(name)
        log.info("scorer removed", scorer=name)

    async def unused(self, place: Place) -> None:
        """Wait until no request uses the scorer, however long, and say so while it lasts."""
        while place.users:
            try:
                async with asyncio.timeout(REPORT_S):
                    await place.free.wait()
            except TimeoutError:
                log.info("scorer still in use", scorer=place.loaded.name, requests=place.users)

    def draining(self) -> dict[str, int]:
        """Scorers whose memory is not given back yet, and how many requests still use each."""
        return dict.fromkeys(self.freeing, 0) | {place.loaded.name: place.users for place in self.leaving}

    async def start(self) -> None:
        """Start the workers of all that are loaded."""
        for place in list(self.places.values()):
            await hook(place.loaded.scorer, "start")()

    async def check(self, others: Sequence[str] = ()) -> None:
        """Raise what keeps the serving scorer from work, unless one of the ``others`` could answer for it."""
        try:
            await self.checked(self.default)
        except RaglineError:
            for name in others:
                with suppress(RaglineError):
                    await self.checked(name)
                    return
            raise

    async def checked(self, name: str) -> None:
        """Raise what keeps a scorer from work."""
        with self.lease(name) as loaded:
            await hook(loaded.scorer, "check")()

    async def close(self) -> None:
        """Close all, whoever uses them: the doors have closed before."""
        for place in [*self.places.values(), *self.leaving]:
            await close(place.loaded.scorer)


def hook(scorer: Scorer, name: str) -> Callable[[], Awaitable[None]]:
    """A scorer's ``start``, ``check`` or ``close``; does nothing where the scorer has none."""

    async def nothing() -> None:
        return None

    found: Any = getattr(scorer, name, nothing)
    called: Callable[[], Awaitable[None]] = found
    return called


async def close(scorer: Scorer) -> None:
    """Close a scorer; one that fails at it, or takes too long, is logged and left."""
    try:
        async with asyncio.timeout(CLOSE_S):
            await hook(scorer, "close")()
    except (RaglineError, TimeoutError) as error:
        log.warning("scorer did not close", scorer=scorer.name, error=str(error) or "it took too long")
    except Exception:  # anybody's scorer; the others are to be closed as well
        log.exception("scorer did not close", scorer=scorer.name)


def give_memory_back() -> None:
    """Free what only cycles hold, and return free pages to the system, where the C library can (glibc)."""
    gc.collect()
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
    if trim is not None:
        trim(0)
