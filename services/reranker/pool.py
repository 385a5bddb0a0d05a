"""Runs plain functions in a few threads, with a bound on how many wait."""

from __future__ import annotations

import asyncio
import contextvars
import threading
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any, ParamSpec, TypeVar
from weakref import WeakSet

from ragline.errors import Overloaded

P = ParamSpec("P")
R = TypeVar("R")


class Pool:
    """``threads`` workers; at most ``max_waiting`` calls run or wait, one more raises Overloaded.

    So does any call while each worker is at one whose caller has left: a running thread cannot be cancelled.
    """

    def __init__(self, threads: int, max_waiting: int) -> None:
        self.executor = ThreadPoolExecutor(threads, thread_name_prefix="scorer")
        self.threads = threads
        self.max_waiting = max_waiting
        self.waiting = 0
        self.abandoned = 0
        self.lock = threading.Lock()
        self.branches: WeakSet[Pool] = WeakSet()

    def branch(self) -> Pool:
        """A pool as large that is closed with this one: what hangs in it holds up nobody else's calls."""
        made = Pool(self.threads, self.max_waiting)
        self.branches.add(made)
        return made

    async def run(self, function: Callable[P, R], *args: P.args, **kwargs: P.kwargs) -> R:
        """The function's result, computed off the event loop with the caller's request context."""
        with self.lock:
            if self.waiting >= self.max_waiting:
                detail = f"{self.waiting} rerankings wait already, which RERANKER_MAX_WAITING allows no more of"
                raise Overloaded(f"{detail}; try again shortly.")
            if self.abandoned >= self.threads:
                raise Overloaded(
                    f"All {self.threads} threads are at calls whose callers have left; try again later."
                )
            self.waiting += 1
        context = contextvars.copy_context()
        future = self.executor.submit(lambda: context.run(function, *args, **kwargs))
        # Counted down when the thread is done, not when the caller has left: a running thread cannot be cancelled.
        future.add_done_callback(self.count_down)
        try:
            return await asyncio.wrap_future(future)
        except asyncio.CancelledError:
            self.leave(future)
            raise

    def leave(self, future: Future[Any]) -> None:
        """Count a call whose caller has left, until its thread is done with it."""
        if not future.running():
            return
        with self.lock:
            self.abandoned += 1
        future.add_done_callback(self.end_abandoned)

    def end_abandoned(self, _: Future[Any]) -> None:
        """A thread is free again."""
        with self.lock:
            self.abandoned -= 1

    def count_down(self, _: Future[Any]) -> None:
        """One call less runs or waits; called from a worker thread, or where a waiting call is cancelled."""
        with self.lock:
            self.waiting -= 1

    def close(self) -> None:
        """Let the threads end after what they are at; what waits is dropped."""
        self.executor.shutdown(wait=False, cancel_futures=True)
        for branch in list(self.branches):
            branch.close()
