"""One try at one chunk: asks for every line that has no result yet, and keeps each result before the next."""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, field

import orjson
import structlog

from ragline.broker import Unfinished
from ragline.errors import RaglineError, Unavailable
from services.generator.batches import figures, joining, lines
from services.generator.batches.batches import Batches
from services.generator.batches.doors import Door, Doors
from services.generator.batches.inputs import requests
from services.generator.batches.journal import Journal, names, read
from services.generator.batches.lines import Answer, Line, Result
from services.generator.batches.manifest import Manifest

POLL_S = 0.5

log = structlog.get_logger(__name__)


@dataclass(frozen=True)
class Tools:
    """What all chunks of a worker share.

    ``slots`` bounds the requests in flight, over all chunks. A chunk is put back after ``hold_s`` seconds and
    goes on where it was: no message is held for long. While a service is away a chunk is held for ``away_s``,
    and for ``busy_s`` when one has no room (429).
    """

    batches: Batches
    doors: Doors
    slots: asyncio.Semaphore
    hold_s: float = 300.0
    away_s: float = 10.0
    busy_s: float = 2.0
    stopping: asyncio.Event = field(default_factory=asyncio.Event)

    async def rest(self, seconds: float) -> None:
        """Wait; raises Unfinished when the worker is stopping."""
        with suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self.stopping.wait()
            raise Unfinished("the worker is stopping")


class Work:
    """One try. ``last``: there is no other, so what fails for an outage now fails for good."""

    def __init__(self, tools: Tools, batch: Manifest, chunk: int, *, last: bool) -> None:
        self.tools = tools
        self.batches = tools.batches
        self.batch = batch
        self.chunk = chunk
        self.last = last
        self.until = time.monotonic() + tools.hold_s
        self.journal = Journal(self.batches.storage, batch.folder, chunk)
        self.numbers: list[int] = []
        self.found: dict[int, Result] = {}
        self.failed: dict[int, tuple[str | None, Answer]] = {}
        self.bad: list[Result] = []
        self.asked = self.halted = self.busy = False
        self.cancelled = False
        self.away: Door | None = None

    async def run(self) -> None:
        """Finish the chunk. Raises Unfinished to go on later, Unavailable to try again what failed."""
        try:
            units = await asyncio.to_thread(self.load)
            if units is None:
                return
            await self.ask_all(units)
            if not self.cancelled:
                await self.conclude()
        finally:
            await asyncio.to_thread(self.journal.close)

    def load(self) -> deque[list[Line]] | None:
        """What is still to be asked; None where there is nothing to do any more. Blocks."""
        if self.batches.results.of_finished(self.batch, self.chunk) is not None:
            self.tidy()
            return None
        if self.batches.is_cancelled(self.batch):
            return None
        given = requests(self.batches.storage, self.batch, self.chunk)
        self.numbers = [number for number, _ in given]
        self.found = read(self.batches.storage, self.journals())
        good: list[Line] = []
        for number, raw in given:
            if number not in self.found:
                self.sort_out(number, raw, good)
        return deque(joining.units(good))

    def sort_out(self, number: int, raw: bytes, good: list[Line]) -> None:
        """A line that is a request goes to ``good``; of any other the result is an error."""
        custom_id = lines.id_of(raw)
        try:
            if number in self.batch.chunks[self.chunk].repeated:
                raise lines.repeated(custom_id)
            good.append(lines.parse(number, raw))
        except RaglineError as error:
            self.bad.append(lines.result(number, custom_id, lines.refused(error, self.request_id(number))))

    async def ask_all(self, units: deque[list[Line]]) -> None:
        """Ask, several units at a time, until all have been or something says stop."""
        await self.keep(self.bad)
        tasks: set[asyncio.Task[None]] = set()
        try:
            while units and not self.halted:
                await self.tools.slots.acquire()
                tasks.add(asyncio.create_task(self.ask(units.popleft())))
            await asyncio.gather(*tasks)
        finally:
            for task in tasks:
                task.cancel()
            if tasks:
                await asyncio.wait(tasks)

    async def stopped(self) -> bool:
        """Whether no further line is to begin now."""
        self.cancelled = self.cancelled or await asyncio.to_thread(self.batches.is_cancelled, self.batch)
        late = self.asked and time.monotonic() > self.until  # with one unit a go at the least it comes to an end
        held_up = self.away is not None or self.busy
        return self.cancelled or held_up or bool(late) or self.tools.stopping.is_set()

    async def ask(self, unit: Sequence[Line]) -> None:
        """Ask for the lines of a unit and keep the results, unless something says stop; takes over a slot."""
        try:
            self.halted = self.halted or await self.stopped()
            if self.halted:
                return
            self.asked = True
            door = self.tools.doors.of(unit[0].route)
            answers = await joining.ask(door, unit, lambda line: self.request_id(line.number))
            final: list[Result] = []
            for line, answer in zip(unit, answers, strict=True):
                if answer.busy:
                    self.busy = True
                elif answer.again:
                    self.failed[line.number] = line.custom_id, answer
                else:
                    final.append(lines.result(line.number, line.custom_id, answer))
            await self.keep(final)
            if self.failed and len(final) < len(unit) and self.away is None and not await door.up():
                self.away = door
        finally:
            self.tools.slots.release()

    async def keep(self, results: Sequence[Result]) -> None:
        """Make results durable: in the journal, or with all others where they are the last."""
        if results:
            if len(self.found) + len(results) < len(self.numbers):
                await asyncio.to_thread(self.journal.append, [result.raw for result in results])
            self.found |= {result.number: result for result in results}

    async def conclude(self) -> None:
        """Finish the chunk, or say how it goes on."""
        if self.away is not None:
            await self.wait_for(self.away)
            raise Unfinished(f"the {self.away.service} service is away")
        if self.busy:
            await self.tools.rest(self.tools.busy_s)
            raise Unfinished("a service has no room")
        if self.failed and not self.last and not self.tools.stopping.is_set():
            _, answer = next(iter(self.failed.values()))
            detail = orjson.loads(answer.content).get("detail", answer.status)
            raise Unavailable(f"{len(self.failed)} lines are to be tried again; the first: {detail}")
        if self.last:
            await self.keep([lines.result(number, *failure) for number, failure in self.failed.items()])
        if len(self.found) < len(self.numbers):
            raise Unfinished("the time for one go is over")
        await asyncio.to_thread(self.finish)

    async def wait_for(self, door: Door) -> None:
        """Let the message rest while a service is away, rather than go through all others in vain."""
        log.warning("waiting for a service", service=door.service, batch=self.batch.id)
        with suppress(TimeoutError):
            async with asyncio.timeout(self.tools.away_s):
                while not await door.up():
                    await self.tools.rest(POLL_S)

    def finish(self) -> None:
        """Put all results in one file, and note it where this was the last chunk. Blocks."""
        results = [self.found[number] for number in self.numbers]
        failed = sum(result.failed for result in results)
        head = orjson.dumps({"lines": len(results), "failed": failed}, option=orjson.OPT_APPEND_NEWLINE)
        name = self.batches.results.name(self.batch, self.chunk)
        if self.batches.storage.create(name, b"".join([head, *(result.raw for result in results)])):
            figures.ended(len(results), failed)
        self.tidy()

    def tidy(self) -> None:
        """What comes after the results of the chunk; done again where a crash came between. Blocks."""
        for name in self.journals():
            self.batches.storage.remove(name)
        self.batches.finish(self.batch)

    def journals(self) -> list[str]:
        """All journals of the chunk."""
        return names(self.batches.storage, self.batch.folder).get(self.chunk, [])

    def request_id(self, number: int) -> str:
        """The id of the request of a line, as logs and problems name it."""
        return f"{self.batch.id}.{number}"

    def give_up(self, error: RaglineError) -> None:
        """Make an error of every line that has no result. Blocks."""
        units = self.load()
        if units is None:
            return
        lost = [
            lines.result(line.number, line.custom_id, lines.refused(error, self.request_id(line.number)))
            for unit in units
            for line in unit
        ]
        self.found |= {result.number: result for result in [*self.bad, *lost]}
        self.finish()
