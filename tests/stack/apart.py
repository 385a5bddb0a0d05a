"""The four services, each as a process of its own, as they run where one is scaled without the others."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import httpx

from tests.suite import SERVICES, START_S, STOP_S, addresses, free_ports


class Apart:
    """Four processes on free ports with their data in ``folder``; a context manager that ends them."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        ports = free_ports(2 * len(SERVICES))
        rest, grpc = ports[: len(SERVICES)], dict(zip(SERVICES, ports[len(SERVICES) :], strict=True))
        self.urls = {name.lower(): f"http://127.0.0.1:{port}" for name, port in zip(SERVICES, rest, strict=True)}
        self.environment = {
            **os.environ,
            "RAGLINE_DATA_DIR": str(folder / "data"),
            **{f"{name}_PORT": str(port) for name, port in zip(SERVICES, rest, strict=True)},
            **{f"{name}_GRPC_PORT": str(port) for name, port in grpc.items()},
            **addresses(grpc),
        }
        self.processes: dict[str, subprocess.Popen[bytes]] = {}

    def __enter__(self) -> Apart:
        self.folder.mkdir(parents=True, exist_ok=True)
        for name in self.urls:
            self.start(name)
        for name in self.urls:
            self.wait_for(name, 200)
        return self

    def __exit__(self, *_: object) -> None:
        for process in self.processes.values():
            process.kill()
            process.wait()

    def start(self, name: str) -> None:
        """Start one service; it may not be ready yet."""
        with (self.folder / f"{name}.log").open("ab") as log:
            command = [sys.executable, "-m", f"services.{name}"]
            self.processes[name] = subprocess.Popen(command, env=self.environment, stdout=log, stderr=log)

    def kill(self, name: str) -> None:
        """End one service as a power cut would."""
        self.processes[name].kill()
        self.processes[name].wait()

    def stop(self, name: str) -> int:
        """Let one service drain; returns its exit status."""
        self.processes[name].send_signal(signal.SIGTERM)
        return self.processes[name].wait(STOP_S)

    def wait_for(self, name: str, status: int) -> httpx.Response:
        """The first answer of a service's /readyz with ``status``."""
        deadline = time.monotonic() + START_S
        while time.monotonic() < deadline:
            assert self.processes[name].poll() is None, self.log(name)[-3000:]
            try:
                answer = httpx.get(f"{self.urls[name]}/readyz", timeout=10)
            except httpx.TransportError:
                answer = None
            if answer is not None and answer.status_code == status:
                return answer
            time.sleep(0.05)
        raise TimeoutError(f"{name} did not come to {status}:\n{self.log(name)[-3000:]}")

    def log(self, name: str) -> str:
        """What one service wrote so far."""
        return (self.folder / f"{name}.log").read_text(errors="replace")

    def client(self, name: str) -> httpx.Client:
        """An HTTP client of one service."""
        return httpx.Client(base_url=self.urls[name], timeout=60)
