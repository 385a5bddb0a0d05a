"""One process of ``tests.nginx.behaviour``, to be killed, paused and asked what arrived."""

from __future__ import annotations

import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx

from tests.servers.freezing import freeze
from tests.servers.nginx import HOST, wait_until
from tests.servers.started import Started
from tests.suite import free_ports


class Replica(Started):
    """A service on a port of its own; a context manager that ends it."""

    def __init__(self, folder: Path, name: str = "replica", port: int = 0) -> None:
        self.folder = folder
        self.name = name
        self.port = port or free_ports(1)[0]
        self.address = f"{HOST}:{self.port}"
        self.process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Start it and wait until it answers."""
        self.launch()
        self.await_answer()

    def launch(self) -> None:
        """Start it."""
        self.folder.mkdir(parents=True, exist_ok=True)
        with (self.folder / f"{self.name}.log").open("ab") as log:
            command = [sys.executable, "-m", "tests.nginx.behaviour", self.name, str(self.port), str(self.folder)]
            self.process = subprocess.Popen(command, stdout=log, stderr=log)

    def await_answer(self) -> None:
        """Wait until it answers."""
        wait_until(self.answers, (self.folder / f"{self.name}.log").read_text)

    def answers(self) -> bool:
        """Whether it says that it lives."""
        try:
            return httpx.get(f"http://{self.address}/healthz", trust_env=False).is_success
        except httpx.TransportError:
            return False

    def notes(self) -> list[str]:
        """What it told of the requests that arrived."""
        file = self.folder / self.name
        return file.read_text().splitlines() if file.exists() else []

    def arrived(self, identity: str) -> int:
        """How often a request of that id arrived."""
        return sum(note.endswith(f" {identity}") for note in self.notes())

    def open(self, gate: str) -> None:
        """Let what waits at a gate go on."""
        (self.folder / gate).touch()

    def kill(self) -> None:
        """End it as a power cut would (kill -9); one that is paused too."""
        self.send(signal.SIGKILL)
        if self.process is not None:
            self.process.wait()

    def stop(self) -> None:
        """Let it end what it does and go."""
        self.send(signal.SIGTERM)
        if self.process is not None:
            self.process.wait(60)

    def pause(self) -> None:
        """Stop its clock (SIGSTOP)."""
        if self.process is not None:
            freeze(self.process.pid)

    def resume(self) -> None:
        """Let it go on (SIGCONT)."""
        self.send(signal.SIGCONT)

    def send(self, what: signal.Signals) -> None:
        """Signal it, if it runs."""
        if self.process is not None and self.process.poll() is None:
            self.process.send_signal(what)


@contextmanager
def running(folder: Path, *names: str) -> Iterator[list[Replica]]:
    """Several replicas, started side by side."""
    replicas = [Replica(folder, name) for name in names]
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for replica in replicas:
            replica.launch()
        for replica in replicas:
            replica.await_answer()
        yield replicas
    finally:
        for replica in replicas:
            replica.kill()
