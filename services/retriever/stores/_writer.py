"""The one writer: whatever has queued while it was busy becomes the next transaction, with one fsync."""

from __future__ import annotations

import sqlite3
import threading
from collections import deque
from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import dataclass, field
from typing import Any

import structlog

from ragline.errors import Overloaded, RaglineError, Unavailable
from services.retriever.stores._record import Record
from services.retriever.stores._rows import Change

log = structlog.get_logger(__name__)

Step = Callable[[dict[int, int]], tuple[Any, Change | None]]


@dataclass(frozen=True)
class Operation:
    """One write on its way: what to do in the transaction, how much it weighs, who waits for it.

    What is ``alone`` is done outside of any transaction, as some of SQLite's own housekeeping has to be.
    """

    step: Step
    size: int  # bytes, about
    alone: bool = False
    result: Future[Any] = field(default_factory=Future)


@dataclass(frozen=True)
class Limits:
    """Bounds of the queue and of a group."""

    max_writes: int
    max_bytes: int
    max_group_bytes: int


class Queue:
    """Operations that wait for the writer, bounded by number and by size."""

    def __init__(self, limits: Limits) -> None:
        self.limits = limits
        self.waiting: deque[Operation] = deque()
        self.size = 0
        self.closed = False
        self.changed = threading.Condition()

    def put(self, operation: Operation) -> None:
        """Queue it; raises Overloaded when full, Unavailable when closed."""
        with self.changed:
            if self.closed:
                raise Unavailable("The store takes no more writes: it is stopping, or its log says what failed.")
            over = self.size + operation.size > self.limits.max_bytes and self.waiting
            if over or len(self.waiting) >= self.limits.max_writes:
                raise Overloaded(
                    f"{len(self.waiting)} writes ({self.size >> 20} MB) wait already; the limits are "
                    "RETRIEVER_MAX_QUEUED_WRITES and RETRIEVER_MAX_QUEUED_MB."
                )
            self.waiting.append(operation)
            self.size += operation.size
            self.changed.notify()

    def group(self) -> list[Operation]:
        """All that waits, up to the group's size; waits for the first, is empty once closed and drained."""
        with self.changed:
            self.changed.wait_for(lambda: self.waiting or self.closed)
            group: list[Operation] = []
            taken = 0
            while self.waiting and (not group or taken + self.waiting[0].size <= self.limits.max_group_bytes):
                if group and self.waiting[0].alone:
                    break
                group.append(self.waiting.popleft())
                taken += group[-1].size
                if group[-1].alone:
                    break
            self.size -= taken
            return group

    def empty(self) -> bool:
        """Whether nothing waits."""
        with self.changed:
            return not self.waiting

    def close(self) -> None:
        """Take nothing more; what waits is still done."""
        with self.changed:
            self.closed = True
            self.changed.notify_all()


class Writer:
    """Runs groups in its own thread.

    ``follow`` is told each group's changes, by collection, once they are durable and before any caller is
    answered: it makes them searchable. ``tidy`` is housekeeping in the record that costs no caller a disk
    write: it runs inside each group's transaction and, told that it is idle, in one of its own when nothing
    waits; it says whether it changed anything.
    """

    def __init__(
        self,
        record: Record,
        limits: Limits,
        follow: Callable[[dict[int, list[Change]], dict[int, int]], None],
        tidy: Callable[[bool], bool],
    ) -> None:
        self.record = record
        self.queue = Queue(limits)
        self.follow = follow
        self.tidy = tidy
        self.healthy = True
        self.thread = threading.Thread(target=self.run, name="retriever-writer", daemon=True)

    def submit(self, step: Step, size: int, *, alone: bool = False) -> Future[Any]:
        """Queue a write; the future gets its result or its RaglineError."""
        operation = Operation(step, size, alone)
        self.queue.put(operation)
        return operation.result

    def run(self) -> None:
        """The thread: groups until closed; an unforeseen failure fails its callers and ends the writing."""
        while group := self.queue.group():
            claimed = [operation for operation in group if operation.result.set_running_or_notify_cancel()]
            try:
                self.commit(claimed)
                self.rest_tidily()
            except Exception as error:  # outermost boundary of the thread: no caller may wait for ever
                log.exception("the writer failed; restart the service to go on from the record")
                self.healthy = False
                self.queue.close()
                for operation in [*claimed, *self.unbegun()]:
                    fail(operation, Unavailable(f"The store failed while it wrote ({error}); its log says more."))
                return

    def unbegun(self) -> list[Operation]:
        """What still waits when the writer ends; none of it was begun."""
        group = self.queue.group()
        left = [operation for operation in group if operation.result.set_running_or_notify_cancel()]
        return left if not group else [*left, *self.unbegun()]

    def commit(self, group: list[Operation]) -> None:
        """One transaction for the group. If the disk refuses it, each operation is tried by itself."""
        if group and group[0].alone:
            self.do(group[0])
            return
        results: list[tuple[Operation, Any]] = []
        changes: dict[int, list[Change]] = {}
        generations: dict[int, int] = {}
        db = self.record.db
        try:
            db.execute("BEGIN IMMEDIATE")
            self.tidy(False)
            for operation in group:
                self.perform(operation, results, changes, generations)
            ceiling = self.record.secure()
            db.execute("COMMIT")
        except sqlite3.Error as error:
            if db.in_transaction:
                db.execute("ROLLBACK")
            self.apart(group, error)
            return
        self.record.secured(ceiling)
        self.follow(changes, generations)
        for operation, result in results:
            operation.result.set_result(result)

    def do(self, operation: Operation) -> None:
        """An operation that takes no transaction."""
        try:
            result, _ = operation.step({})
        except sqlite3.Error as error:
            fail(operation, Unavailable(f"The record could not be written ({error}); is the disk full?"))
            return
        operation.result.set_result(result)

    def perform(
        self,
        operation: Operation,
        results: list[tuple[Operation, Any]],
        changes: dict[int, list[Change]],
        generations: dict[int, int],
    ) -> None:
        """One operation inside the group's transaction; a refusal undoes and fails this one alone."""
        db = self.record.db
        db.execute("SAVEPOINT operation")
        known = dict(generations)
        try:
            result, change = operation.step(generations)
        except RaglineError as error:
            db.execute("ROLLBACK TO operation")
            db.execute("RELEASE operation")
            generations.clear()
            generations.update(known)
            fail(operation, error)
            return
        db.execute("RELEASE operation")
        results.append((operation, result))
        if change is not None:
            changes.setdefault(change.collection.id, []).append(change)

    def apart(self, group: list[Operation], error: sqlite3.Error) -> None:
        """What to do with a group that could not be committed."""
        waiting = [operation for operation in group if not operation.result.done()]
        if len(group) > 1:
            for operation in waiting:
                self.commit([operation])
            return
        for operation in waiting:
            log.error("a write was not stored", why=str(error))
            fail(operation, Unavailable(f"The record could not be written ({error}); is the disk full?"))

    def rest_tidily(self) -> None:
        """The housekeeping, by itself, until nothing is left of it or somebody writes."""
        db = self.record.db
        try:
            changed = True
            while changed and self.queue.empty():
                db.execute("BEGIN IMMEDIATE")
                changed = self.tidy(True)
                db.execute("COMMIT" if changed else "ROLLBACK")
        except sqlite3.Error as error:
            if db.in_transaction:
                db.execute("ROLLBACK")
            log.warning("old rows were not purged", why=str(error))

    def start(self) -> None:
        """Begin taking writes."""
        self.thread.start()

    def close(self) -> None:
        """Finish what waits, then end the thread."""
        self.queue.close()
        if self.thread.is_alive():
            self.thread.join()


def fail(operation: Operation, error: RaglineError) -> None:
    """Give the caller its error."""
    if not operation.result.done():
        operation.result.set_exception(error)
