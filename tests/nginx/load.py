"""Requests from several clients for as long as a test changes something; none may fail."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager

import httpx

from tests.servers.nginx import Nginx, version, wait_until

KEEPS_IDLE_CONNECTIONS = (1, 27, 4)  # the first nginx that does not close one under a client that is about to send


class Load:
    """Clients of a door, every other one with a new connection for each request; what came back."""

    def __init__(self, door: Nginx, clients: int = 4) -> None:
        self.door = door
        self.stopping = threading.Event()
        self.answers: list[httpx.Response] = []
        self.failures: list[str] = []
        self.repeats = 0
        self.threads = [threading.Thread(target=self.run, args=(number % 2 == 0,)) for number in range(clients)]

    def run(self, fresh: bool) -> None:
        """One client's requests, one after the other."""
        with self.door.client(timeout_s=30) as client:
            if fresh:
                client.headers["Connection"] = "close"
            while not self.stopping.is_set():
                try:
                    self.answers.append(self.send(client, fresh))
                except httpx.HTTPError as error:
                    self.failures.append(repr(error))

    def send(self, client: httpx.Client, fresh: bool) -> httpx.Response:
        """One request; where a kept connection was closed before an answer began, once more, as browsers do.

        A client learns of that by reading an end, or a reset where it was still sending.
        """
        try:
            return client.post("/rerank", json={})
        except (httpx.RemoteProtocolError, httpx.ReadError, httpx.WriteError):
            if fresh or version() >= KEEPS_IDLE_CONNECTIONS:
                raise
        self.repeats += 1
        return client.post("/rerank", json={})

    def served_by(self, start: int = 0) -> Counter[str]:
        """How many answers each replica gave."""
        return Counter(answer.json()["name"] for answer in self.answers[start:] if answer.is_success)

    def await_more(self, count: int = 50) -> None:
        """Wait until this many more answers have come."""
        goal = len(self.answers) + count
        wait_until(lambda: len(self.answers) >= goal, lambda: f"{len(self.answers)} answers; {self.failures[:3]}")


@contextmanager
def load(door: Nginx) -> Iterator[Load]:
    """Requests while the block runs; at its end each must have been answered well."""
    clients = Load(door)
    for thread in clients.threads:
        thread.start()
    try:
        yield clients
    finally:
        clients.stopping.set()
        for thread in clients.threads:
            thread.join()
    assert not clients.failures, clients.failures
    unwell = [answer.text for answer in clients.answers if not answer.is_success]
    assert not unwell, unwell
