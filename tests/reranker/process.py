"""The reranker as a process of its own, on free ports."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import httpx

from tests.suite import free_ports

ROOT = Path(__file__).parents[2]
START_S, STOP_S = 120.0, 30.0


class RerankerProcess:
    """``python -m services.reranker`` with its data in ``folder``; a context manager that ends it.

    ``settings`` are its RERANKER_* variables without the prefix; what is no text goes as JSON.
    """

    def __init__(self, folder: Path, **settings: Any) -> None:
        port, grpc_port = free_ports(2)
        self.url = f"http://127.0.0.1:{port}"
        self.grpc = f"127.0.0.1:{grpc_port}"
        self.log = folder / "log"
        given = settings | {"port": port, "grpc_port": grpc_port, "data_dir": str(folder / "data"), "threads": 2}
        self.environment = os.environ | {
            f"RERANKER_{name.upper()}": value if isinstance(value, str) else json.dumps(value)
            for name, value in given.items()
        }
        self.process: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> RerankerProcess:
        command = [sys.executable, "-m", "services.reranker"]
        with self.log.open("wb") as log:
            self.process = subprocess.Popen(command, cwd=ROOT, env=self.environment, stdout=log, stderr=log)
        end = time.monotonic() + START_S
        while not self.ready():
            if self.process.poll() is not None or time.monotonic() > end:
                raise AssertionError(self.log.read_text())
            time.sleep(0.05)
        return self

    def __exit__(self, *_: object) -> None:
        assert self.process is not None
        self.process.terminate()
        try:
            self.process.wait(STOP_S)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
            raise

    def ready(self) -> bool:
        """Whether it serves."""
        try:
            return httpx.get(f"{self.url}/readyz").status_code == 200
        except httpx.TransportError:
            return False

    def memory(self, what: str = "VmRSS") -> int:
        """Its resident memory in bytes; ``VmHWM`` is the most that it ever had."""
        assert self.process is not None
        found = re.search(
            rf"^{what}:\s+(\d+) kB", Path(f"/proc/{self.process.pid}/status").read_text(), re.MULTILINE
        )
        assert found is not None
        return int(found[1]) * 1024
