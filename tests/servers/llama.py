"""llama.cpp's own server of the OpenAI dialect, as a program on a port of its own: for tests and bench."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import httpx

from tests.servers.freezing import freeze
from tests.servers.started import Started
from tests.suite import free_ports

HOST = "127.0.0.1"
START_S = 60.0
LLAMA_KEY = "of-the-shared-server"
CONTEXT, SLOTS = 4096, 2
# The server runs in threads of the process, which ends when its standard input does: never later than its parent.
PROGRAM = """
import sys, xllamacpp
params = xllamacpp.CommonParams()
params.model.path, params.port, params.api_keys = sys.argv[1], int(sys.argv[2]), sys.argv[3:]
params.n_ctx, params.n_parallel, params.verbosity, params.cache_ram_mib = {context}, {slots}, -1, 0
params.cpuparams.n_threads = params.cpuparams_batch.n_threads = 1
params.hostnames = ["127.0.0.1"]
server = xllamacpp.Server(params)
sys.stdin.read()
import os
os._exit(0)
"""


class LlamaServer(Started):
    """``file`` is a .gguf; requests need ``key`` where one is given. One thread, so that machines may be busy."""

    def __init__(self, file: Path, *, key: str = "") -> None:
        self.file = file
        self.key = key
        self.port = free_ports(1)[0]
        self.url = f"http://{HOST}:{self.port}/v1"
        self.process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Start it and wait until it answers; raises RuntimeError when it does not."""
        program = PROGRAM.format(context=CONTEXT, slots=SLOTS)
        command = [
            sys.executable,
            "-c",
            program,
            str(self.file),
            str(self.port),
            *([self.key] if self.key else []),
        ]
        environment = {**os.environ, "OMP_NUM_THREADS": "1"}
        self.process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, env=environment
        )
        deadline = time.monotonic() + START_S
        while not self.answers():
            if self.process.poll() is not None or time.monotonic() > deadline:
                self.kill()
                raise RuntimeError(f"llama.cpp did not start with {self.file}")
            time.sleep(0.05)

    def answers(self) -> bool:
        """Whether the model is loaded."""
        try:
            return httpx.get(f"http://{HOST}:{self.port}/health", timeout=1).is_success
        except httpx.HTTPError:
            return False

    def kill(self) -> None:
        """End it as a power cut would (kill -9); one that is paused too."""
        if self.process is not None:
            assert self.process.stdin is not None
            self.process.kill()
            self.process.wait(START_S)
            self.process.stdin.close()
            self.process = None

    def stop(self) -> None:
        """End it; it holds nothing."""
        self.kill()

    def pause(self) -> None:
        """Stop its clock: connections stay, nothing is answered (SIGSTOP)."""
        assert self.process is not None
        freeze(self.process.pid)

    def resume(self) -> None:
        """Let it go on."""
        self.signal(signal.SIGCONT)

    def signal(self, number: int) -> None:
        """Send a signal to it."""
        assert self.process is not None
        self.process.send_signal(number)
