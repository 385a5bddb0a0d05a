"""Requests from several threads while something happens to the stack; every answer is kept."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable
from types import TracebackType
from typing import Any

from tests.deploy import door

Request = Callable[[int], tuple[str, dict[str, Any]]]
"""Path and body of the request of that number."""


class Load:
    """Sends ``request(0)``, ``request(1)``, … from ``threads`` threads until it is left, or ``count`` are sent."""

    def __init__(self, request: Request, *, threads: int = 4, count: int | None = None) -> None:
        self.request = request
        self.count = count
        self.answers: list[door.Answer] = []
        self.failures: list[str] = []
        self._lock = threading.Lock()
        self._next = 0
        self._ending = threading.Event()
        self._threads = [threading.Thread(target=self._work, daemon=True) for _ in range(threads)]

    def __enter__(self) -> Load:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self.count is None or error:
            self._ending.set()
        for thread in self._threads:
            thread.join()

    def go_on(self, requests: int, timeout_s: float = 60) -> None:
        """Return when so many more have been answered; raises Wrong where they are not in time."""
        wanted, deadline = len(self.answers) + requests, time.monotonic() + timeout_s
        while len(self.answers) < wanted:
            if time.monotonic() > deadline:
                raise door.Wrong(f"no {requests} answers within {timeout_s:g} s; failed: {self.failures[:3]}")
            time.sleep(0.02)

    def check(self) -> None:
        """Raise Wrong where one failed."""
        if self.failures:
            raise door.Wrong(f"{len(self.failures)} of {len(self.answers)} requests failed: {self.failures[:3]}")

    def degraded(self) -> int:
        """How many answers were made without something."""
        return sum(1 for answer in self.answers if answer.body.get("degraded"))

    def _work(self) -> None:
        while not self._ending.is_set():
            with self._lock:
                number = self._next
                self._next += 1
            if self.count is not None and number >= self.count:
                return
            path, body = self.request(number)
            try:
                answer = door.send("POST", path, json.dumps(body).encode())
            except OSError as error:
                answer = door.Answer(0, {"detail": repr(error)}, 0.0)
            self.answers.append(answer)
            if answer.status != 200:
                self.failures.append(f"{path}: {answer.status} {answer.body}")
