"""A whole suite as a process of its own, on free ports and in a folder of its own: for tests, eval and bench."""

from __future__ import annotations

import contextlib
import os
import random
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Any

import httpx

SERVICES = ("PREPROCESS", "RETRIEVER", "RERANKER", "GENERATOR")
START_S = 120.0
STOP_S = 30.0
PORTS = range(15_000, 30_000)
SHARES = 12
GIVEN: set[int] = set()
# Every connection of a client is kept: where many threads share one, it may close what another has just taken.
KEPT = httpx.Limits(max_connections=100, max_keepalive_connections=100, keepalive_expiry=None)


def free_ports(count: int) -> list[int]:
    """Ports that were free a moment ago, from below those that the system gives to whoever connects next.

    None is given out twice by one process, nor by two that run tests side by side: each has a share of its own.
    """
    ports: list[int] = []
    own = share()
    for port in random.SystemRandom().sample(own, len(own)):
        if port in GIVEN:
            continue
        with contextlib.suppress(OSError), socket.create_server(("127.0.0.1", port)):
            ports.append(port)
        if len(ports) == count:
            GIVEN.update(ports)
            return ports
    raise OSError(f"there are no {count} free ports")


def share() -> range:
    """The ports of this worker of pytest-xdist, or all of them without one."""
    worker = os.environ.get("PYTEST_XDIST_WORKER", "")
    if not worker:
        return PORTS
    size = len(PORTS) // SHARES
    first = PORTS.start + int(worker.removeprefix("gw")) % SHARES * size
    return range(first, first + size)


class Suite:
    """``python -m services`` with its data in ``folder``; a context manager that ends it."""

    def __init__(self, folder: Path, environment: Mapping[str, str] | None = None) -> None:
        self.folder = folder
        self.port, *grpc = free_ports(1 + len(SERVICES))
        self.url = f"http://127.0.0.1:{self.port}"
        self.environment = {
            **os.environ,
            "RAGLINE_PORT": str(self.port),
            "RAGLINE_DATA_DIR": str(folder / "data"),
            **{f"{service}_GRPC_PORT": str(port) for service, port in zip(SERVICES, grpc, strict=True)},
            **addresses(dict(zip(SERVICES, grpc, strict=True))),
            **(environment or {}),
        }
        self.process: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> Suite:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    @property
    def log(self) -> str:
        """What the process wrote so far."""
        return (self.folder / "log").read_text(errors="replace")

    def start(self) -> None:
        """Start and wait until ready; raises RuntimeError with the log when it does not get there."""
        self.folder.mkdir(parents=True, exist_ok=True)
        with (self.folder / "log").open("ab") as log:
            command = [sys.executable, "-m", "services"]
            self.process = subprocess.Popen(command, env=self.environment, stdout=log, stderr=log)
        deadline = time.monotonic() + START_S
        while not self.ready():
            if self.process.poll() is not None or time.monotonic() > deadline:
                raise RuntimeError(f"the suite did not get ready:\n{self.log[-4000:]}")
            time.sleep(0.05)

    def ready(self) -> bool:
        """Whether it says that it is."""
        try:
            return httpx.get(f"{self.url}/readyz", timeout=5).status_code == 200
        except httpx.TransportError:
            return False

    def kill(self) -> None:
        """End it as a power cut would (kill -9)."""
        assert self.process is not None
        self.process.kill()
        self.process.wait()

    def stop(self) -> int:
        """Let it drain; returns its exit status."""
        if self.process is None:
            return 0
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
            try:
                self.process.wait(STOP_S)
            except subprocess.TimeoutExpired:
                self.kill()
        return self.process.returncode

    def client(self, timeout_s: float = 120.0) -> httpx.Client:
        """An HTTP client of its one REST port."""
        return httpx.Client(base_url=self.url, timeout=timeout_s, limits=KEPT)


def addresses(ports: Mapping[str, int]) -> dict[str, str]:
    """Where each service finds the others."""
    pairs = (
        ("PREPROCESS", "RETRIEVER"),
        ("RETRIEVER", "PREPROCESS"),
        ("RETRIEVER", "RERANKER"),
        ("GENERATOR", "RETRIEVER"),
        ("GENERATOR", "RERANKER"),
    )
    return {f"{who}_{whom}_ADDRESS": f"127.0.0.1:{ports[whom]}" for who, whom in pairs}


def wait_for_job(client: httpx.Client, job_id: str, timeout_s: float = 240.0) -> dict[str, Any]:
    """The job once it has ended."""
    deadline = time.monotonic() + timeout_s
    while time.monotonic() < deadline:
        job: dict[str, Any] = client.get(f"/jobs/{job_id}").json()
        if job["state"] in {"done", "failed", "cancelled"}:
            return job
        time.sleep(0.1)
    raise TimeoutError(f"job {job_id} did not end within {timeout_s} s: {job}")


def put(client: httpx.Client, documents: list[dict[str, Any]], collection: str = "default") -> dict[str, Any]:
    """Post documents and wait until they can be found; returns the job."""
    answer = client.post("/documents", json={"collection": collection, "documents": documents})
    answer.raise_for_status()
    return wait_for_job(client, answer.json()["job_id"])
