"""Equal work is done once, and nobody's leaving or failing harms another."""

import asyncio

import pytest

from ragline.cache.single_flight import SingleFlight
from ragline.errors import Cancelled


class Work:
    """A computation that runs until it is let go."""

    def __init__(self) -> None:
        self.calls = 0
        self.cancelled = asyncio.Event()
        self.started = asyncio.Event()
        self.gate = asyncio.Event()

    async def __call__(self) -> int:
        self.calls += 1
        self.started.set()
        try:
            await self.gate.wait()
        except asyncio.CancelledError:
            self.cancelled.set()
            raise
        return 40 + self.calls


async def waiting(flights: SingleFlight, work: Work, count: int) -> list[asyncio.Task[int]]:
    tasks = [asyncio.create_task(flights.run("key", work)) for _ in range(count)]
    await work.started.wait()
    return tasks


async def test_a_thousand_equal_calls_do_the_work_once() -> None:
    flights, work = SingleFlight(), Work()
    tasks = await waiting(flights, work, 1_000)
    work.gate.set()
    assert await asyncio.gather(*tasks) == [41] * 1_000
    assert work.calls == 1
    assert len(flights) == 0
    assert await flights.run("key", work) == 42


async def test_other_keys_run_beside_it() -> None:
    flights, work = SingleFlight(), Work()
    (task,) = await waiting(flights, work, 1)

    async def other() -> str:
        return "other"

    assert await flights.run("other", other) == "other"
    work.gate.set()
    assert await task == 41


async def test_the_work_goes_on_when_the_one_who_began_it_leaves() -> None:
    flights, work = SingleFlight(), Work()
    leader, *others = await waiting(flights, work, 3)
    leader.cancel()
    with pytest.raises(asyncio.CancelledError):
        await leader
    work.gate.set()
    assert await asyncio.gather(*others) == [41, 41]


async def test_the_work_ends_when_the_last_one_leaves() -> None:
    flights, work = SingleFlight(), Work()
    tasks = await waiting(flights, work, 3)
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
    await work.cancelled.wait()
    assert len(flights) == 0
    fresh = Work()
    fresh.gate.set()
    assert await flights.run("key", fresh) == 41


async def test_a_failure_reaches_all_and_is_not_kept() -> None:
    flights = SingleFlight()
    gate = asyncio.Event()

    async def fail() -> int:
        await gate.wait()
        raise ValueError("no")

    async def succeed() -> int:
        return 1

    tasks = [asyncio.create_task(flights.run("key", fail)) for _ in range(3)]
    await asyncio.sleep(0)
    gate.set()
    assert [str(error) for error in await asyncio.gather(*tasks, return_exceptions=True)] == ["no"] * 3
    assert await flights.run("key", succeed) == 1


async def test_work_that_is_cancelled_from_within_is_an_error_and_no_cancellation() -> None:
    async def give_up() -> int:
        raise asyncio.CancelledError

    with pytest.raises(Cancelled):
        await SingleFlight().run("key", give_up)
