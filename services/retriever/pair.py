"""The two halves of a single query's search, in two threads; the one that ends last goes on with both."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Callable
from concurrent.futures import Future
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from ragline.errors import RaglineError, Unavailable
from services.retriever.gathering import Waiting
from services.retriever.stores import Ranking

if TYPE_CHECKING:
    from services.retriever.finding import Finding


class Pair:
    """Every way from one thread to another costs as much as a search of an index, so there is one each way."""

    def __init__(self, finding: Finding) -> None:
        self.finding = finding
        self.loop = asyncio.get_running_loop()
        self.done: asyncio.Future[Any] = self.loop.create_future()
        self.missing: dict[str, RaglineError] = {}
        self.lock = threading.Lock()
        self.open = 2 if finding.request.mode not in ("dense", "sparse") else 1
        self.rankings: dict[str, Ranking] = {}

    def match(self) -> None:
        """Begin with the words."""
        began = time.perf_counter()

        def run() -> None:
            finding = self.finding
            try:
                ranking = finding.view.sparse(finding.queries[0], finding.depth, finding.allowed)
            except Exception as error:  # noqa: BLE001 - whatever it is, it belongs to the one who waits
                self.failed("sparse", error)
            else:
                self.arrived("sparse", ranking, began)

        self.begin(run)

    def near(self) -> None:
        """Begin with the vector, or go on without one."""
        finding, began = self.finding, time.perf_counter()
        if finding.embedded is None:
            self.begin(self.ended)
            return

        def found(rankings: list[Ranking] | BaseException) -> None:
            if isinstance(rankings, BaseException):
                self.settle(rankings)
            else:
                self.arrived("dense", rankings[0], began)

        finding.search.gathering.submit(
            Waiting(finding.embedded.vectors, finding.view, finding.depth, finding.allowed, found, self.done.done)
        )

    def begin(self, task: Callable[[], None]) -> None:
        """Run a task in the pool; one that the pool drops because it is being shut is told of."""
        self.finding.search.pool.submit(task).add_done_callback(self.dropped)

    def dropped(self, work: Future[None]) -> None:
        """Look whether the pool has dropped a task."""
        if work.cancelled():
            self.settle(Unavailable("The service is stopping; ask again."))

    def failed(self, half: str, error: BaseException) -> None:
        """A half that cannot be used is done without, if the request lets it."""
        if isinstance(error, Unavailable) and self.finding.request.mode != half:
            self.missing[half] = error
            self.ended()
        else:
            self.settle(error)

    def arrived(self, half: str, ranking: Ranking, began: float) -> None:
        """A half is there."""
        self.finding.clock.ms[half] = (time.perf_counter() - began) * 1e3
        self.rankings[half] = ranking
        self.ended()

    def ended(self) -> None:
        """A half has ended; after the last, fuse and fetch in this thread."""
        with self.lock:
            self.open -= 1
            if self.open:
                return
        if self.done.done():  # the caller has left
            return
        dense, sparse = self.rankings.get("dense"), self.rankings.get("sparse")
        try:
            self.finding.check(dense, sparse)
            (found,) = self.finding.finished(
                (0,), None if dense is None else [dense], None if sparse is None else [sparse]
            )
        except Exception as error:  # noqa: BLE001 - whatever it is, it belongs to the one who waits
            self.settle(error)
        else:
            self.settle(found)

    def settle(self, outcome: object) -> None:
        """Tell the one who waits, on his loop."""
        with suppress(RuntimeError):  # the loop is closed: nobody waits any more
            self.loop.call_soon_threadsafe(self.tell, outcome)

    def tell(self, outcome: object) -> None:
        """What ``settle`` does there."""
        if self.done.done():
            return
        if isinstance(outcome, BaseException):
            self.done.set_exception(outcome)
        else:
            self.done.set_result(outcome)
