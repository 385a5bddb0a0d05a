"""A Milvus for tests: ``milvus-lite server``, which speaks its protocol, on a port of its own."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

from tests.servers.freezing import freeze
from tests.servers.started import Started
from tests.suite import free_ports

PROGRAM = str(Path(sys.executable).parent / "milvus-lite")
HOST = "127.0.0.1"
START_S = 60.0  # it imports for seconds where the machine is busy


class MilvusServer(Started):
    """``milvus-lite server`` with its data in ``folder``; a context manager that ends it.

    It is a rewrite of Milvus in Python, for tests: the wire is Milvus' own; speed, ranking and what a cluster does
    are not.
    """

    def __init__(self, folder: Path, *, port: int = 0) -> None:
        self.folder = folder
        self.port = port or free_ports(1)[0]
        self.url = f"http://{HOST}:{self.port}"
        self.process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Start it and wait until it answers; raises RuntimeError with its log when it does not."""
        self.folder.mkdir(parents=True, exist_ok=True)
        command = [
            PROGRAM,
            "server",
            "--data-dir",
            str(self.folder / "data"),
            "--host",
            HOST,
            "--port",
            str(self.port),
        ]
        environment = {**os.environ, "OMP_NUM_THREADS": "1"}
        with (self.folder / "log").open("ab") as log:
            self.process = subprocess.Popen(command, stdout=log, stderr=log, env=environment)
        deadline = time.monotonic() + START_S
        while not self.answers():
            if self.process.poll() is not None or time.monotonic() > deadline:
                raise RuntimeError(f"milvus-lite did not start:\n{(self.folder / 'log').read_text()[-2000:]}")
            time.sleep(0.05)

    def answers(self) -> bool:
        """Whether it listens."""
        try:
            with socket.create_connection((HOST, self.port), timeout=1):
                return True
        except OSError:
            return False

    def kill(self) -> None:
        """End it as a power cut would (kill -9); one that is paused too."""
        if self.process is not None:
            self.process.kill()
            self.process.wait(START_S)
            self.process = None

    def stop(self) -> None:
        """Let it write what it holds and end."""
        if self.process is not None:
            self.resume()
            self.process.send_signal(signal.SIGINT)
            self.process.wait(START_S)
            self.process = None

    def pause(self) -> None:
        """Stop its clock: connections stay, nothing is answered (SIGSTOP)."""
        assert self.process is not None
        freeze(self.process.pid)

    def resume(self) -> None:
        """Let it go on (SIGCONT)."""
        if self.process is not None:
            self.process.send_signal(signal.SIGCONT)
