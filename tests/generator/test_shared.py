"""Streams that several read at once."""

import asyncio
from collections.abc import AsyncGenerator

import pytest

from ragline import context
from ragline.errors import Unavailable
from services.generator.shared import SharedStreams, deadline


class Source:
    def __init__(self, error: Exception | None = None) -> None:
        self.go = asyncio.Event()
        self.started = 0
        self.closed = asyncio.Event()
        self.error = error
        self.deadline: float | None = None

    async def events(self) -> AsyncGenerator[int, None]:
        self.started += 1
        self.deadline = context.deadline()
        try:
            yield 1
            await self.go.wait()
            if self.error:
                raise self.error
            yield 2
        finally:
            self.closed.set()


async def read(streams: SharedStreams[int], source: Source) -> list[int]:
    return [event async for event in streams.join("key", source.events)]


async def test_readers_share_and_late_ones_read_from_the_beginning() -> None:
    streams: SharedStreams[int] = SharedStreams()
    source = Source()
    first = streams.join("key", source.events)
    assert await anext(first) == 1
    others = [asyncio.create_task(read(streams, source)) for _ in range(3)]
    await asyncio.sleep(0)
    source.go.set()
    assert [event async for event in first] == [2]
    assert await asyncio.gather(*others) == [[1, 2]] * 3
    assert source.started == 1
    assert not streams.streams


async def test_a_failure_reaches_every_reader() -> None:
    streams: SharedStreams[int] = SharedStreams()
    source = Source(Unavailable("gone"))
    tasks = [asyncio.create_task(read(streams, source)) for _ in range(3)]
    source.go.set()
    results = await asyncio.gather(*tasks, return_exceptions=True)
    assert all(isinstance(result, Unavailable) for result in results)


async def test_the_work_ends_with_its_last_reader() -> None:
    streams: SharedStreams[int] = SharedStreams()
    source = Source()
    first, second = streams.join("key", source.events), streams.join("key", source.events)
    await anext(first)
    await anext(second)
    await first.aclose()
    assert not source.closed.is_set()
    await second.aclose()
    await source.closed.wait()
    assert not streams.streams


async def test_the_work_has_no_readers_deadline() -> None:
    streams: SharedStreams[int] = SharedStreams()
    source = Source()
    source.go.set()
    with context.bind("one", timeout_s=60):
        assert await read(streams, source) == [1, 2]
    assert source.deadline is None


async def test_a_cancelled_reader_leaves_the_others_alone() -> None:
    streams: SharedStreams[int] = SharedStreams()
    source = Source()
    one, other = (asyncio.create_task(read(streams, source)) for _ in range(2))
    await asyncio.sleep(0)
    one.cancel()
    with pytest.raises(asyncio.CancelledError):
        await one
    source.go.set()
    assert await other == [1, 2]


async def test_who_joins_late_reads_from_where_it_began_anew() -> None:
    streams: SharedStreams[int] = SharedStreams(lambda event: event == 1)
    source = Source()
    first = streams.join("key", source.events)
    assert await anext(first) == 1
    late = asyncio.create_task(read(streams, source))
    await asyncio.sleep(0)
    source.go.set()
    assert await late == [2]
    assert [event async for event in first] == [2]


async def test_the_work_has_the_latest_deadline_of_its_readers() -> None:
    streams: SharedStreams[int] = SharedStreams()
    source = Source()
    seen: list[float | None] = []

    async def events() -> AsyncGenerator[int, None]:
        seen.append(deadline())
        yield 1
        await source.go.wait()
        seen.append(deadline())

    with context.bind(timeout_s=5):
        soon = context.deadline()
        first = streams.join("key", events)
        await anext(first)
    with context.bind(timeout_s=50):
        later = context.deadline()
        second = streams.join("key", events)
        await anext(second)
    source.go.set()
    assert [event async for event in second] == []
    await first.aclose()
    assert seen == [soon, later]
    assert deadline() is None
