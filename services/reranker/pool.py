"""Runs plain functions in a few threads, with a bound on how many wait."""

from __future__ import annotations

import asyncio
import contextvars
import threading
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any, ParamSpec, TypeVar

from ragline.errors import Overloaded

P = ParamSpec("P")
R = TypeVar("R")


class Pool:
    """``threads`` workers; at most ``max_waiting`` calls run or wait, one more raises Overloaded."""

    def __init__(self, threads: int, max_waiting: int) -> None:
        self.executor = ThreadPoolExecutor(threads, thread_name_prefix="scorer")
        self.max_waiting = max_waiting
        self.waiting = 0
        self.lock = threading.Lock()

    async def run(self, function: Callable[P, R], *args: P.args, **kwargs: P.kwargs) -> R:
        """The function's result, computed off the event loop with the caller's request context."""
        with self.lock:
            if self.waiting >= self.max_waiting:
                detail = f"{self.waiting} rerankings wait already, which RERANKER_MAX_WAITING allows no more of"
                raise Overloaded(f"{detail}; try again shortly.")
            self.waiting += 1
        context = contextvars.copy_context()
        future = self.executor.submit(lambda: context.run(function, *args, **kwargs))
        # Counted down when the thread is done, not when the caller has left: a running thread cannot be cancelled.
        future.add_done_callback(self.count_down)
        return await asyncio.wrap_future(future)

    def count_down(self, _: Future[Any]) -> None:
        """One call less runs or waits; called from a worker thread, or where a waiting call is cancelled."""
        with self.lock:
            self.waiting -= 1

    def close(self) -> None:
        """Let the threads end after what they are at; what waits is dropped."""
        self.executor.shutdown(wait=False, cancel_futures=True)
