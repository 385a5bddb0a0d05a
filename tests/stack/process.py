"""One service as a process of its own, which a test starts, stops, freezes and kills."""

from __future__ import annotations

import contextlib
import signal
import subprocess
import sys
import time
from collections.abc import Mapping
from pathlib import Path

import httpx

from tests.servers.freezing import freeze
from tests.suite import START_S, STOP_S


class ServiceProcess:
    """``python -m services.<service>`` with its log in ``folder``; ``name`` tells replicas apart."""

    def __init__(self, name: str, service: str, folder: Path, port: int, environment: Mapping[str, str]) -> None:
        self.name = name
        self.service = service
        self.port = port
        self.url = f"http://127.0.0.1:{port}"
        self.file = folder / f"{name}.log"
        self.environment = dict(environment)
        self.process: subprocess.Popen[bytes] | None = None

    @property
    def log(self) -> str:
        """What it wrote so far."""
        return self.file.read_text(errors="replace") if self.file.exists() else ""

    @property
    def running(self) -> bool:
        """Whether the process is there."""
        return self.process is not None and self.process.poll() is None

    def start(self) -> None:
        """Start it; it may not be ready yet."""
        with self.file.open("ab") as log:
            command = [sys.executable, "-m", f"services.{self.service}"]
            self.process = subprocess.Popen(command, env=self.environment, stdout=log, stderr=log)

    def kill(self) -> None:
        """End it as a power cut would (kill -9); one that is frozen too."""
        if self.process is not None:
            self.process.kill()
            self.process.wait()

    def stop(self) -> int:
        """Let it drain; returns its exit status."""
        assert self.process is not None
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(STOP_S)

    def pause(self) -> None:
        """Freeze it: connections stay, nothing is answered (SIGSTOP)."""
        assert self.process is not None
        freeze(self.process.pid)

    def resume(self) -> None:
        """Let it go on (SIGCONT)."""
        assert self.process is not None
        self.process.send_signal(signal.SIGCONT)

    def wait_for(self, status: int) -> httpx.Response:
        """The first answer of its /readyz with ``status``; raises TimeoutError with its log."""
        deadline = time.monotonic() + START_S
        while time.monotonic() < deadline:
            assert self.running, f"{self.name} ended:\n{self.log[-3000:]}"
            with contextlib.suppress(httpx.TransportError):
                answer = httpx.get(f"{self.url}/readyz", timeout=10)
                if answer.status_code == status:
                    return answer
            time.sleep(0.05)
        raise TimeoutError(f"{self.name} did not come to {status}:\n{self.log[-3000:]}")

    def wait_for_log(self, text: str) -> None:
        """Until it has written ``text``: a line may come after the answer that it is about."""
        deadline = time.monotonic() + STOP_S
        while text not in self.log:
            assert time.monotonic() < deadline, f"{self.name} never wrote {text!r}:\n{self.log[-3000:]}"
            time.sleep(0.02)
