"""The other end of ``serving``: starts an engine's process, calls it, reads how much memory it holds."""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
from pathlib import Path
from types import TracebackType
from typing import Any

ROOT = Path(__file__).parents[2]
STOP_S = 60.0


class Host:
    """An engine by the name of its class, over a corpus; a context manager that ends it."""

    def __init__(
        self,
        engine: str,
        corpus: Path,
        *folders: Path,
        log: Path,
        python: str = sys.executable,
        **environment: str,
    ) -> None:
        command = [python, "-m", "bench.retrieval.serving", engine, str(corpus), *map(str, folders)]
        self.engine = engine
        self.log = log
        with log.open("wb") as out:
            self.process = subprocess.Popen(
                command,
                cwd=ROOT,
                env={**os.environ, "OMP_WAIT_POLICY": "passive", **environment},
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=out,
                text=True,
            )

    def __enter__(self) -> Host:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def call(self, name: str, **arguments: Any) -> Any:
        """The result of a call; raises RuntimeError with what the process wrote where it ended instead."""
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        with contextlib.suppress(BrokenPipeError):  # it ended: what it wrote says why
            self.process.stdin.write(json.dumps({"call": name, "arguments": arguments}) + "\n")
            self.process.stdin.flush()
        answer = self.process.stdout.readline()
        if not answer:
            raise RuntimeError(f"{self.engine} ended:\n{self.log.read_text(errors='replace')[-3000:]}")
        return json.loads(answer)

    def memory_mb(self) -> float:
        """What it holds of its own, files that the system may drop left out."""
        return memory_mb(self.process.pid)

    def close(self) -> None:
        """Let it end; one that does not is killed."""
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        with contextlib.suppress(BrokenPipeError):  # it ended before
            self.process.stdin.close()
        try:
            self.process.wait(STOP_S)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        self.process.stdout.close()


def memory_mb(process: int, field: str = "RssAnon") -> float:
    """Megabytes of a process's memory: ``RssAnon`` is its own, ``VmRSS`` counts mapped files, too."""
    lines = Path(f"/proc/{process}/status").read_text().splitlines()
    found = {name: value for name, _, value in (line.partition(":") for line in lines)}
    return int(found[field].split()[0]) / 1024
