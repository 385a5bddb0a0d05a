"""An event loop in a thread of its own, for clients that threads of any kind wait for."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncGenerator, AsyncIterator, Coroutine, Iterator
from concurrent.futures import Future
from concurrent.futures import TimeoutError as FutureTimeout
from typing import Any, TypeVar

from ragline import context
from ragline.errors import TimedOut, Unavailable

DEFAULT_WAIT_S = 60.0  # for who has no deadline
ITEM_S = 3600.0  # for one thing of many: looking at a collection is one

T = TypeVar("T")


class Loop:
    """Runs until it is closed."""

    def __init__(self, name: str) -> None:
        self.loop = asyncio.new_event_loop()
        self.thread = threading.Thread(target=self.loop.run_forever, name=name, daemon=True)
        self.thread.start()

    def submit(self, work: Coroutine[Any, Any, T]) -> Future[T]:
        """Start it; raises Unavailable once the loop is closed."""
        if self.loop.is_closed():
            work.close()
            raise Unavailable("The store is closed.")
        return asyncio.run_coroutine_threadsafe(work, self.loop)

    def wait(self, work: Coroutine[Any, Any, T], timeout_s: float | None = None) -> T:
        """What it gives, waited for in this thread; raises TimedOut at the request's deadline."""
        future = self.submit(work)
        try:
            return future.result(context.remaining_s(DEFAULT_WAIT_S) if timeout_s is None else timeout_s)
        except FutureTimeout:
            if future.done():  # it raised that itself
                raise
            raise TimedOut("The store did not answer before the deadline of this request.") from None
        finally:
            future.cancel()

    def iterate(self, source: AsyncIterator[T]) -> Iterator[T]:
        """What ``source`` gives, each waited for in the thread that asks for it."""
        try:
            while True:
                try:
                    yield self.wait(following(source), timeout_s=ITEM_S)
                except StopAsyncIteration:
                    return
        finally:
            if isinstance(source, AsyncGenerator):
                self.wait(source.aclose(), timeout_s=ITEM_S)

    async def result(self, work: Coroutine[Any, Any, T]) -> T:
        """What it gives, waited for in another event loop."""
        return await asyncio.wrap_future(self.submit(work))

    def close(self) -> None:
        """Cancel what still runs, and end the thread."""
        asyncio.run_coroutine_threadsafe(cancelled(), self.loop).result()
        self.loop.call_soon_threadsafe(self.loop.stop)
        self.thread.join()
        self.loop.close()


async def following(source: AsyncIterator[T]) -> T:
    """The next one."""
    return await anext(source)


async def cancelled() -> None:
    """Cancel all other tasks of this loop and wait for their end."""
    others = [task for task in asyncio.all_tasks() if task is not asyncio.current_task()]
    for task in others:
        task.cancel()
    await asyncio.gather(*others, return_exceptions=True)
