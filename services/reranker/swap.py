"""Swaps scorers while they serve: load beside, try, switch, hold the one before, go back, put on trial."""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import Collection, Coroutine, Mapping
from contextvars import Context
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from typing import Any, Literal

import structlog

from ragline import metrics
from ragline.errors import Conflict, InvalidRequest, NotFound, RaglineError
from services.reranker.loading import Loader
from services.reranker.probe import described
from services.reranker.roster import Loaded, Roster
from services.reranker.settings import Choice
from services.reranker.showing import Event, lines, record, view
from services.reranker.trials import Trials

HISTORY = 20

Role = Literal["serve", "load", "canary", "shadow"]

log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Order:
    """What is asked for: a scorer to load (None: ``name`` is loaded already) and what it shall do then.

    ``share`` of the requests for a canary or a shadow; ``judge`` is a loaded scorer that compares; without
    ``probe`` it is asked only for sound scores.
    """

    scorer: str | None = None
    options: Mapping[str, Any] = field(default_factory=dict)
    name: str | None = None
    role: Role = "serve"
    share: float = 0.1
    judge: str | None = None
    probe: bool = True


class Swaps:
    """Belongs to one event loop. ``kept`` are the names that the settings want loaded, whatever serves.

    A scorer that no longer serves stays for ``hold_s``; at most ``most`` are loaded at a time, so that forgotten
    ones do not fill the memory bit by bit.
    """

    def __init__(
        self,
        roster: Roster,
        loader: Loader,
        trials: Trials,
        *,
        kept: Collection[str] = (),
        hold_s: float = 60.0,
        most: int = 8,
    ) -> None:
        self.roster = roster
        self.loader = loader
        self.trials = trials
        self.kept = frozenset(kept)
        self.hold_s = hold_s
        self.most = most
        self.configured = roster.default
        self.previous: tuple[str, Choice] | None = None
        self.history: deque[Event] = deque(maxlen=HISTORY)
        self.held: dict[str, asyncio.TimerHandle] = {}
        self.removals: set[asyncio.Task[None]] = set()

    async def take(self, order: Order) -> Event:
        """Load what is asked for where it is not yet, try it and give it its role.

        Raises what the loader raises, NotFound for a name that is not loaded, Conflict where the name or the
        role is taken.
        """
        return await self.noted(order.role, order.name or "", order.scorer or "", self.taken(order))

    async def back(self) -> Event:
        """Let the scorer before the last switch serve again, loaded anew where it was given up."""
        if self.previous is None:
            raise Conflict("There was no switch yet, so there is nothing to go back to.")
        name, choice = self.previous
        loaded = name in self.roster.names() and self.roster.get(name).choice == choice
        order = Order(name=name, probe=False) if loaded else Order(choice.scorer, choice.options, name)
        return await self.noted("back", name, choice.scorer, self.taken(order))

    async def promote(self) -> Event:
        """Let the canary serve everybody."""
        name = self.on_trial("canary")
        if name is None:
            raise NotFound("There is no canary to promote.")
        return await self.noted("promote", name, "", self.promoted(name))

    async def promoted(self, name: str) -> Loaded:
        """The canary, which serves now."""
        loaded = self.roster.get(name)
        self.trials.end_canary()
        self.serve(name)
        return loaded

    async def stop(self, role: Literal["canary", "shadow"]) -> Event:
        """End a trial and unload its scorer, unless the settings or another role want it."""
        name = self.on_trial(role)
        if name is None:
            raise NotFound(f"There is no {role} to stop.")
        return await self.noted(f"stop {role}", name, "", self.stopped(role, name))

    async def stopped(self, role: str, name: str) -> Loaded:
        """The scorer of a trial that has ended."""
        loaded = self.roster.get(name)
        (self.trials.end_canary if role == "canary" else self.trials.end_shadow)()
        self.release(name)
        return loaded

    async def unload(self, name: str) -> Event:
        """Unload a scorer that has no role; raises Conflict for one that has, and NotFound."""
        return await self.noted("unload", name, "", self.unloaded(name))

    async def unloaded(self, name: str) -> Loaded:
        """The scorer that goes."""
        loaded = self.roster.get(name)
        if name in self.kept:
            raise Conflict(f"The settings want {name!r} loaded; it can be unloaded only by changing them.")
        if name in self.wanted():
            raise Conflict(f"The scorer {name!r} serves or is on trial; switch or stop that first.")
        self.release(name)
        return loaded

    async def noted(self, action: str, name: str, scorer: str, work: Coroutine[Any, Any, Loaded]) -> Event:
        """Do the work and keep what came of it."""
        begun = time.monotonic()

        def event(outcome: Literal["done", "refused"], **more: Any) -> Event:
            at, seconds = datetime.now(UTC).isoformat(timespec="seconds"), round(time.monotonic() - begun, 3)
            made = Event(at=at, action=action, outcome=outcome, seconds=seconds, **more)
            self.history.append(made)
            count(action, outcome)
            log.info("scorers changed" if outcome == "done" else "scorers not changed", change=action, **more)
            return made

        try:
            loaded = await work
        except RaglineError as error:
            event("refused", name=name, scorer=scorer, reason=error.detail)
            raise
        return event("done", name=loaded.name, scorer=loaded.choice.scorer, probe=described(loaded.report))

    async def taken(self, order: Order) -> Loaded:
        """The scorer of the order, with its role."""
        if order.role in {"canary", "shadow"} and (there := self.on_trial(order.role)):
            raise Conflict(f"The {order.role} is {there!r}; stop it first.")
        if order.judge is not None:
            self.roster.get(order.judge)
        loaded, new = await self.found(order)
        if (timer := self.held.pop(loaded.name, None)) is not None:
            timer.cancel()
        try:
            self.give(order, loaded)
        except RaglineError:
            if new:
                self.release(loaded.name)
            raise
        return loaded

    async def found(self, order: Order) -> tuple[Loaded, bool]:
        """The scorer of the order, and whether it was loaded for it."""
        serving = self.roster.get(self.roster.default)
        if order.scorer is None:
            if order.name is None:
                raise InvalidRequest(
                    "Say which scorer to load, or the name of one that is loaded.", field="scorer"
                )
            loaded = self.roster.get(order.name)
            if order.probe:
                with self.roster.lease(loaded.name):
                    report = await self.loader.retry(loaded, serving=serving.scorer)
                return replace(loaded, report=report), False
            return loaded, False
        if order.name is not None and order.name in self.roster.names():
            raise Conflict(f"A scorer {order.name!r} is loaded already; choose another name.", field="name")
        if len(self.roster.names()) >= self.most and self.held:
            self.release(next(iter(self.held)))  # the one that nobody went back to for longest
        if len(self.roster.names()) >= self.most:
            held = f"{len(self.roster.names())} scorers are loaded and RERANKER_MAX_LOADED is {self.most}"
            raise Conflict(f"{held}; unload one first.")
        choice = Choice(scorer=order.scorer, options=dict(order.options))
        loaded = await self.loader.load(order.name, choice, serving=serving.scorer, judged=order.probe)
        loaded = replace(loaded, name=order.name or self.free(loaded.name))
        self.roster.add(loaded)
        return loaded, True

    def free(self, name: str) -> str:
        """The name, with a number where it is taken."""
        taken, number = self.roster.names(), 2
        while (numbered := f"{name}-{number}") in taken:
            number += 1
        return numbered if name in taken else name

    def give(self, order: Order, loaded: Loaded) -> None:
        """Give the scorer its role."""
        match order.role:
            case "serve":
                self.serve(loaded.name)
            case "canary":
                self.trials.begin_canary(loaded.name, order.share)
            case "shadow":
                self.trials.begin_shadow(loaded.name, order.share, order.judge)
            case "load":
                pass

    def serve(self, name: str) -> None:
        """Switch; the one before is held for a while."""
        if name == self.roster.default:
            return
        if self.on_trial("canary") == name:
            self.trials.end_canary()
        before = self.roster.get(self.roster.switch(name))
        self.previous = (before.name, before.choice)
        if before.name not in self.kept:
            self.hold(before.name)

    def hold(self, name: str) -> None:
        """Keep a scorer loaded for ``hold_s``, to go back to at once, then unload it."""

        def over() -> None:
            self.held.pop(name, None)
            self.release(name)

        # In a context of its own, here and below: the deadline of the request that asked is none of its business.
        self.held[name] = asyncio.get_running_loop().call_later(self.hold_s, over, context=Context())

    def release(self, name: str) -> None:
        """Unload a scorer in the background unless something wants it."""
        if name not in self.roster.names() or name in self.wanted() or name in self.kept:
            return
        if (timer := self.held.pop(name, None)) is not None:
            timer.cancel()
        task = asyncio.get_running_loop().create_task(self.roster.remove(name), context=Context())
        self.removals.add(task)
        task.add_done_callback(self.removals.discard)

    def wanted(self) -> set[str]:
        """The names that serve, are on trial or judge one that is."""
        shadow = self.trials.shadowing
        names = {self.roster.default, self.on_trial("canary"), self.on_trial("shadow"), shadow and shadow.judge}
        return {name for name in names if name}

    def on_trial(self, role: str) -> str | None:
        """The name of the canary or of the shadow."""
        trial = self.trials.canary if role == "canary" else self.trials.shadowing
        return None if trial is None else trial.name

    def describe(self) -> dict[str, Any]:
        """Everything that is loaded, what each does, and what was asked for lately."""
        roster = self.roster
        serving = roster.get(roster.default)
        return {
            "serving": view(serving),
            "previous": self.before(),
            "others": [view(roster.get(name)) for name in roster.names() if name != roster.default],
            "draining": roster.draining(),
            "loading": self.loader.loading,
            "canary": self.trials.describe().get("canary"),
            "shadow": self.trials.describe().get("shadow"),
            "history": [record(event) for event in reversed(self.history)],
            "persists": serving.name == self.configured,
            "settings": lines(serving.choice),
        }

    def before(self) -> dict[str, Any] | None:
        """The scorer before the last switch, and how long it is still held."""
        if self.previous is None:
            return None
        name, choice = self.previous
        timer = self.held.get(name)
        loaded = name in self.roster.names()
        held_s = max(0.0, timer.when() - asyncio.get_running_loop().time()) if timer is not None else None
        return {"name": name, "scorer": choice.scorer, "loaded": loaded, "held_s": held_s and round(held_s, 1)}

    async def close(self) -> None:
        """End what runs in the background."""
        for timer in self.held.values():
            timer.cancel()
        for task in list(self.removals):
            task.cancel()
        await asyncio.gather(*self.removals, return_exceptions=True)


def count(action: str, outcome: str) -> None:
    """Count what was asked for."""
    about = "Changes of the loaded scorers that were asked for."
    metrics.counter("ragline_reranker_swaps", about, ("action", "outcome")).labels(action, outcome).inc()
