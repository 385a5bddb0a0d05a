import asyncio
import gc
import subprocess
import sys
import threading

import pytest

from ragline import context
from ragline.errors import Overloaded, Unavailable
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
    threads: list[threading.Thread] = []

    def wait() -> None:
        threads.append(threading.current_thread())
        started.set()
        go.wait()

    first = asyncio.ensure_future(pool.run(wait))
    await asyncio.to_thread(started.wait)
    first.cancel()
    with pytest.raises(asyncio.CancelledError):
        await first
    with pytest.raises(Overloaded, match="callers have left"):
        await pool.run(wait)
    pool.close()
    go.set()
    await asyncio.to_thread(threads[0].join)
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
    with pytest.raises(Unavailable, match="shutting down"):
        await branch.run(lambda: "done")


async def test_what_waits_when_the_pool_is_closed_is_dropped() -> None:
    pool, started, go = Pool(1, max_waiting=2), threading.Event(), threading.Event()

    def wait() -> str:
        started.set()
        go.wait()
        return "done"

    first = asyncio.ensure_future(pool.run(wait))
    await asyncio.to_thread(started.wait)
    second = asyncio.ensure_future(pool.run(wait))
    await asyncio.sleep(0)
    pool.close()
    with pytest.raises(asyncio.CancelledError):
        await second
    go.set()
    assert await first == "done"


async def test_the_threads_of_a_pool_that_nobody_has_end() -> None:
    pool = Pool(2, max_waiting=2)
    threads = [await pool.run(threading.current_thread) for _ in range(2)]
    del pool
    gc.collect()
    for thread in threads:
        await asyncio.to_thread(thread.join)


def test_a_call_that_hangs_does_not_keep_the_process() -> None:
    code = """
import asyncio, threading
from services.reranker.pool import Pool

async def main():
    came = threading.Event()
    asyncio.ensure_future(Pool(1, 1).run(lambda: (came.set(), threading.Event().wait())))
    await asyncio.to_thread(came.wait)

asyncio.run(main())
"""
    assert subprocess.run([sys.executable, "-c", code], timeout=60, check=False).returncode == 0


@pytest.mark.parametrize("error", [SystemExit, KeyboardInterrupt, StopIteration])
async def test_nothing_that_is_raised_ends_more_than_its_call(error: type[BaseException]) -> None:
    pool = Pool(1, max_waiting=1)

    def ends() -> None:
        raise error

    with pytest.raises(RuntimeError, match=error.__name__):
        await pool.run(ends)
    assert await pool.run(lambda: "done") == "done"
    pool.close()


async def test_errors_come_back() -> None:
    pool = Pool(1, max_waiting=1)
    with pytest.raises(ZeroDivisionError):
        await pool.run(lambda: 1 // 0)
    pool.close()
