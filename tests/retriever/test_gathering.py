"""Concurrent vector searches become few scans, and each caller gets its own part or its own failure."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from numpy.typing import NDArray

from ragline.errors import Unavailable
from services.retriever.gathering import Gathering
from services.retriever.stores import Allowed, Ranking


class Scans:
    """A view whose scans wait for the test; a query's only hit is its own first number."""

    generation, passages, fingerprint = 1, 1, ""

    def __init__(self) -> None:
        self.sizes: list[int] = []
        self.go_on = threading.Event()
        self.begun = threading.Event()
        self.fails = False

    def dense(self, queries: NDArray[np.float32], depth: int, allowed: Allowed | None) -> list[Ranking]:
        self.sizes.append(len(queries))
        self.begun.set()
        assert self.go_on.wait(30)
        if self.fails:
            raise ZeroDivisionError("scan")
        return [Ranking(query[:1].astype(np.int64), query[:1]) for query in queries]


@pytest.fixture
def pool() -> Iterator[ThreadPoolExecutor]:
    with ThreadPoolExecutor(2) as opened:
        yield opened


def ask(gathering: Gathering, view: Scans, *numbers: int, depth: int = 5) -> asyncio.Task[list[Ranking]]:
    vectors = np.array([[number, 0] for number in numbers], dtype=np.float32)
    return asyncio.create_task(gathering.dense(view, vectors, depth, None))  # type: ignore[arg-type]  # the used part


def numbers(rankings: list[Ranking]) -> list[int]:
    return [int(ranking.rows[0]) for ranking in rankings]


async def test_what_queued_is_one_scan(pool: ThreadPoolExecutor) -> None:
    gathering, view = Gathering(pool, width=1, most=64), Scans()
    first = ask(gathering, view, 1)
    await asyncio.to_thread(view.begun.wait, 30)
    rest = [ask(gathering, view, n, n + 100) for n in range(2, 12)]
    await asyncio.sleep(0)
    view.go_on.set()
    assert numbers(await first) == [1]
    assert [numbers(await each) for each in rest] == [[n, n + 100] for n in range(2, 12)]
    assert view.sizes == [1, 20]


async def test_a_scan_is_bounded_and_leavers_are_dropped(pool: ThreadPoolExecutor) -> None:
    gathering, view = Gathering(pool, width=1, most=4), Scans()
    tasks = [ask(gathering, view, 0)]
    await asyncio.to_thread(view.begun.wait, 30)
    tasks += [ask(gathering, view, n, n) for n in range(1, 6)]
    await asyncio.sleep(0)
    tasks[2].cancel()
    await asyncio.sleep(0)
    view.go_on.set()
    found = await asyncio.gather(*tasks, return_exceptions=True)
    assert isinstance(found.pop(2), asyncio.CancelledError)
    assert [numbers(each) for each in found if isinstance(each, list)] == [[0], [1, 1], [3, 3], [4, 4], [5, 5]]
    assert view.sizes == [1, 4, 4]


async def test_other_depths_are_other_scans(pool: ThreadPoolExecutor) -> None:
    gathering, view = Gathering(pool, width=1, most=64), Scans()
    view.go_on.set()
    tasks = [ask(gathering, view, n, depth=5 + n % 2) for n in range(6)]
    assert [numbers(await each) for each in tasks] == [[n] for n in range(6)]
    assert len(view.sizes) >= 2


async def test_a_failure_reaches_those_in_the_scan_only(pool: ThreadPoolExecutor) -> None:
    gathering, view, other = Gathering(pool, width=1, most=64), Scans(), Scans()
    view.fails = True
    tasks = [ask(gathering, view, 1), ask(gathering, other, 2)]
    view.go_on.set()
    other.go_on.set()
    with pytest.raises(ZeroDivisionError):
        await tasks[0]
    assert numbers(await tasks[1]) == [2]
    assert gathering.running == 0


async def test_those_who_wait_when_the_pool_is_shut_are_told() -> None:
    pool = ThreadPoolExecutor(1)
    gathering, view = Gathering(pool, width=2, most=64), Scans()
    first = ask(gathering, view, 1)
    await asyncio.to_thread(view.begun.wait, 30)
    queued, later = ask(gathering, view, 2), ask(gathering, view, 3, depth=6)
    await asyncio.sleep(0)
    pool.shutdown(wait=False, cancel_futures=True)
    view.go_on.set()
    assert numbers(await first) == [1]
    for each in (queued, later):
        with pytest.raises(Unavailable, match="stopping"):
            await each
    with pytest.raises(RuntimeError, match="shutdown"):
        await ask(gathering, view, 4)
    assert gathering.running == 0
