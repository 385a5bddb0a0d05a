"""Runs plain functions in a few threads, with a bound on how many wait."""

from __future__ import annotations

import asyncio
import contextvars
import threading
import weakref
from collections.abc import Callable
from concurrent.futures import Future
from queue import Empty, SimpleQueue
from typing import Any, ParamSpec, TypeVar

from ragline.errors import Overloaded, Unavailable

P = ParamSpec("P")
R = TypeVar("R")
Call = tuple[Future[Any], Callable[[], Any]]
Calls = SimpleQueue[Call | None]  # None: end


class Pool:
    """``threads`` workers; at most ``max_waiting`` calls run or wait, one more raises Overloaded.

    So does any call while each worker is at one whose caller has left: a running thread cannot be cancelled. The
    workers are daemons: one that hangs does not keep the process from ending.
    """

    def __init__(self, threads: int, max_waiting: int) -> None:
        self.threads = threads
        self.max_waiting = max_waiting
        self.waiting = 0
        self.abandoned = 0
        self.started = 0
        self.closed = False
        self.lock = threading.Lock()
        self.calls: Calls = SimpleQueue()
        self.branches: weakref.WeakSet[Pool] = weakref.WeakSet()
        self.end = weakref.finalize(self, end, self.calls, threads)
        self.end.atexit = False

    def branch(self) -> Pool:
        """A pool as large that is closed with this one: what hangs in it holds up nobody else's calls."""
        made = Pool(self.threads, self.max_waiting)
        self.branches.add(made)
        return made

    async def run(self, function: Callable[P, R], *args: P.args, **kwargs: P.kwargs) -> R:
        """The function's result, computed off the event loop with the caller's request context."""
        context = contextvars.copy_context()
        future: Future[R] = Future()
        self.admit(future, lambda: context.run(function, *args, **kwargs))
        try:
            return await asyncio.wrap_future(future)
        except asyncio.CancelledError:
            self.leave(future)
            raise

    def admit(self, future: Future[Any], work: Callable[[], Any]) -> None:
        """Queue a call, and start a worker where all are busy and there may be one more."""
        with self.lock:
            if self.closed:
                raise Unavailable("The reranker is shutting down; try again.")
            if self.waiting >= self.max_waiting:
                detail = f"{self.waiting} rerankings wait already, which RERANKER_MAX_WAITING allows no more of"
                raise Overloaded(f"{detail}; try again shortly.")
            if self.abandoned >= self.threads:
                raise Overloaded(
                    f"All {self.threads} threads are at calls whose callers have left; try again later."
                )
            self.waiting += 1
            missing = self.started < min(self.threads, self.waiting)
            self.started += missing
        if missing:
            threading.Thread(target=serve, args=(self.calls,), name=f"scorer-{self.started}", daemon=True).start()
        # Counted down when the thread is done, not when the caller has left.
        future.add_done_callback(self.count_down)
        self.calls.put((future, work))

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
        with self.lock:
            self.closed = True
        self.end()
        for branch in list(self.branches):
            branch.close()


def end(calls: Calls, threads: int) -> None:
    """Drop what waits and let the workers end; runs at the latest when the pool is collected."""
    try:
        while (call := calls.get_nowait()) is not None:
            call[0].cancel()
    except Empty:
        pass
    for _ in range(threads):
        calls.put(None)


def plain(error: BaseException) -> Exception:
    """The error, or one in its place where it would end the event loop, or no future would take it."""
    if isinstance(error, Exception) and not isinstance(error, StopIteration):
        return error
    return RuntimeError(repr(error))


def serve(calls: Calls) -> None:
    """A worker's life; it holds the queue and not the pool, which can so be collected."""
    while (call := calls.get()) is not None:
        future, work = call
        if future.set_running_or_notify_cancel():
            try:
                result = work()
            except BaseException as error:  # noqa: BLE001 - whatever a scorer raises is its caller's
                future.set_exception(plain(error))
            else:
                future.set_result(result)
                del result
        del call, future, work
