"""Builds larger parts of dense indexes beside the searches and writes, and keeps their files up to date."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from concurrent.futures import Future
from typing import Any

import structlog

from ragline import metrics
from ragline.errors import Overloaded, Unavailable
from services.retriever.dense import DenseBackend, Job, Layered, LayeredBackend, Stopped
from services.retriever.stores._held import Held
from services.retriever.stores._snapshot import Snapshot
from services.retriever.stores._writer import Step

RETRY_S = 30.0  # after a failure
BUSY_S = 0.2  # while the writer's queue is full

log = structlog.get_logger(__name__)

Submit = Callable[[Step, int], Future[Any]]


class Builder:
    """One thread for all collections. What it built is put in place by the writer's thread, through ``submit``.

    A crash at any point loses work and nothing else: the record has every vector.
    """

    def __init__(self, dense: DenseBackend, submit: Submit) -> None:
        self.backend = dense if isinstance(dense, LayeredBackend) else None
        self.submit = submit
        self.pending: dict[int, Held] = {}  # collections in which something may be due
        self.changed: dict[int, tuple[int, float]] = {}  # generation, and when it was first seen
        self.waits: dict[int, float] = {}  # after a failure, until when
        self.turn = threading.Condition()
        self.ended = threading.Event()
        self.thread = threading.Thread(target=self.run, name="retriever-builder", daemon=True)

    def start(self) -> None:
        """Begin, if the back end has anything to build."""
        if self.backend is not None:
            self.thread.start()

    def wake(self, held: Held) -> None:
        """Something changed in the collection."""
        if self.backend is not None:
            with self.turn:
                self.pending[held.current.collection] = held
                self.turn.notify_all()

    def close(self) -> None:
        """End the thread; what it is building is given up."""
        with self.turn:
            self.ended.set()
            self.turn.notify_all()
        if self.thread.is_alive():
            self.thread.join()

    def wait(self, timeout_s: float) -> bool:
        """Wait until nothing is due any more; False if that took longer."""
        with self.turn:
            return self.turn.wait_for(lambda: not self.pending, timeout_s)

    def run(self) -> None:
        """The thread."""
        while not self.ended.is_set():
            with self.turn:
                pending = list(self.pending.items())
            pauses = []
            for identity, held in pending:
                if self.ended.is_set():
                    return
                pauses.append(self.attend(identity, held))
            with self.turn:
                if not self.ended.is_set() and (not pending or min(pauses) > 0):
                    self.turn.wait(min(pauses) if pauses and self.pending else None)

    def attend(self, identity: int, held: Held) -> float:
        """Do what is due in a collection; in how many seconds to look again."""
        pause = self.waits.get(identity, 0) - time.monotonic()
        if pause > 0:
            return pause
        try:
            return self.step(identity, held)
        except Stopped:
            return RETRY_S
        except Exception:  # outermost boundary of the thread: searches go on with what there is
            log.exception("a dense index was not built on; it is tried again", collection=identity)
            self.waits[identity] = time.monotonic() + RETRY_S
            return RETRY_S

    def step(self, identity: int, held: Held) -> float:
        """One job or one save, if due; in how many seconds to look again."""
        snapshot, backend = held.current, self.backend
        index = snapshot.index
        if backend is None or not isinstance(index, Layered):
            return self.rest(identity, held, snapshot)
        now = time.monotonic()
        generation, since = self.changed.get(identity, (-1, now))
        if generation != snapshot.generation:
            since = now
            self.changed[identity] = (snapshot.generation, since)
        quiet = now - since >= backend.settle_s
        job = index.job(snapshot.live, quiet)
        if job is not None:
            self.build(backend, held, snapshot, job)
            return 0.0
        held.note()
        if quiet or held.files.behind(snapshot):
            held.files.save(snapshot)
        return self.rest(identity, held, snapshot) if quiet else max(0.01, since + backend.settle_s - now)

    def rest(self, identity: int, held: Held, seen: Snapshot) -> float:
        """Nothing is due until the collection changes."""
        with self.turn:
            if held.current is not seen:
                return 0.0
            self.pending.pop(identity, None)
            self.turn.notify_all()
        return RETRY_S

    def build(self, backend: LayeredBackend, held: Held, snapshot: Snapshot, job: Job) -> None:
        """Build a part and have it put in place; raises Stopped."""
        began = time.monotonic()
        part = slice(job.start, job.stop)
        rows = snapshot.rows[part][snapshot.live[part]]
        ends = (int(snapshot.rows[job.start]), int(snapshot.rows[job.stop - 1]))
        if not len(rows):
            self.handed(lambda _: (held.replace(snapshot, ends, None, rows), None))
            return
        dimensions = snapshot.dimensions
        built, kept = backend.build(
            job.kind,
            dimensions,
            rows,
            lambda wanted: held.streams.vectors(wanted, dimensions),
            self.ended.is_set,
        )
        seconds = time.monotonic() - began
        placed = self.handed(lambda _: (held.replace(snapshot, ends, built, kept), None))
        log.info(
            "dense index built",
            collection=snapshot.collection,
            kind=job.kind,
            passages=len(kept),
            seconds=round(seconds, 2),
            used=placed,
            **{key: value for key, value in built.header().items() if key != "kind"},
        )
        metrics.counter("ragline_dense_builds", "Parts of dense indexes built.", ("kind",)).labels(job.kind).inc()

    def handed(self, step: Step) -> Any:
        """What ``step`` gives in the writer's thread; raises Stopped once that takes nothing more."""
        while True:
            if self.ended.is_set():
                raise Stopped
            try:
                return self.submit(step, 0).result()
            except Overloaded:
                with self.turn:
                    self.turn.wait_for(self.ended.is_set, BUSY_S)
            except Unavailable as error:
                raise Stopped from error
