import asyncio
import threading

import pytest

from ragline import context
from ragline.errors import Overloaded
from services.reranker.pool import Pool


async def test_runs_in_a_thread_with_the_requests_context() -> None:
    pool = Pool(1, max_waiting=1)
    with context.bind(request_id="one"):
        assert await pool.run(context.request_id) == "one"
    assert await pool.run(threading.current_thread) is not threading.current_thread()
    pool.close()


async def test_full_is_overloaded_until_there_is_room() -> None:
    pool, started, go = Pool(1, max_waiting=1), threading.Event(), threading.Event()

    def wait() -> str:
        started.set()
        go.wait()
        return "done"

    first = asyncio.ensure_future(pool.run(wait))
    await asyncio.to_thread(started.wait)
    with pytest.raises(Overloaded, match="RERANKER_MAX_WAITING"):
        await pool.run(wait)
    go.set()
    assert await first == "done"
    assert await pool.run(wait) == "done"
    pool.close()


async def test_a_cancelled_caller_takes_its_waiting_call_along() -> None:
    pool, started, go = Pool(1, max_waiting=2), threading.Event(), threading.Event()

    def wait() -> None:
        started.set()
        go.wait()

    first = asyncio.ensure_future(pool.run(wait))
    await asyncio.to_thread(started.wait)
    second = asyncio.ensure_future(pool.run(wait))
    await asyncio.sleep(0)
    second.cancel()
    with pytest.raises(asyncio.CancelledError):
        await second
    assert pool.waiting == 1
    go.set()
    await first
    pool.close()


async def test_threads_at_work_for_nobody_are_overloaded_at_once() -> None:
    pool, started, go = Pool(1, max_waiting=9), threading.Event(), threading.Event()

    def wait() -> None:
        started.set()
        go.wait()

    first = asyncio.ensure_future(pool.run(wait))
    await asyncio.to_thread(started.wait)
    first.cancel()
    with pytest.raises(asyncio.CancelledError):
        await first
    with pytest.raises(Overloaded, match="callers have left"):
        await pool.run(wait)
    go.set()
    await asyncio.to_thread(pool.executor.shutdown)
    assert (pool.abandoned, pool.waiting) == (0, 0)


async def test_branches_are_closed_with_their_pool_and_wait_for_nobody_else() -> None:
    pool, go = Pool(1, max_waiting=1), threading.Event()
    branch = pool.branch()
    hanging = asyncio.ensure_future(pool.run(go.wait))
    await asyncio.sleep(0)
    assert await branch.run(lambda: "done") == "done"
    go.set()
    assert await hanging
    pool.close()
    with pytest.raises(RuntimeError, match="after shutdown"):
        await branch.run(lambda: "done")


async def test_errors_come_back() -> None:
    pool = Pool(1, max_waiting=1)
    with pytest.raises(ZeroDivisionError):
        await pool.run(lambda: 1 // 0)
    pool.close()
