"""A private suite without a generator: three services as processes of their own, which touch nobody's data."""

from __future__ import annotations

import fcntl
import io
import random
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Mapping
from contextlib import ExitStack
from pathlib import Path

import httpx
import orjson

from ragline.evaluation import EvaluationError
from ragline.evaluation.settings import environment

SERVICES = ("preprocess", "retriever", "reranker")
PORTS = range(10_000, 15_000)  # below those that the system gives to whoever connects next
START_S = 300.0
STOP_S = 20.0
POLL_S = 0.05
LOG_CHARS = 1500
LAST_BYTES = 65_536
HOST = "127.0.0.1"
# The services that belong to this command; modules in the current folder can be found, but stand in nobody's way.
LAUNCH = "import runpy, sys; sys.path.append(sys.argv[2]); runpy.run_module(sys.argv[1], run_name='__main__')"


class Services:
    """preprocess, retriever and reranker with their data and logs in ``folder``; a context manager that ends them.

    ``settings`` come on top of what the environment says of models and indexes. Raises EvaluationError where one
    does not start, with what it says, and where another evaluation uses the folder.
    """

    def __init__(self, folder: Path, settings: Mapping[str, str]) -> None:
        self.folder = folder
        ports = free_ports(2 * len(SERVICES))
        self.rest = dict(zip(SERVICES, ports, strict=False))
        self.grpc = dict(zip(SERVICES, ports[len(SERVICES) :], strict=True))
        self.settings = settings
        self.running: dict[str, subprocess.Popen[bytes]] = {}
        self.closing = ExitStack()

    def __enter__(self) -> Services:
        with ExitStack() as failed:
            failed.callback(self.__exit__)
            self.claim()
            told = self.told()
            for name in SERVICES:
                self.start(name, told)
            for name in SERVICES:
                self.wait(name)
            failed.pop_all()
        return self

    def __exit__(self, *_: object) -> None:
        for process in self.running.values():
            if process.poll() is None:
                process.send_signal(signal.SIGTERM)
        for process in self.running.values():
            try:
                process.wait(STOP_S)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
        self.closing.close()

    def url(self, name: str) -> str:
        """The REST door of a service."""
        return f"http://{HOST}:{self.rest[name]}"

    def address(self, name: str) -> str:
        """The gRPC door of a service."""
        return f"{HOST}:{self.grpc[name]}"

    def claim(self) -> None:
        """Keep others out of the folder, as two suites over one set of files would spoil it."""
        self.folder.mkdir(parents=True, exist_ok=True)
        lock = self.closing.enter_context((self.folder / "lock").open("w"))
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            raise EvaluationError(
                f"{self.folder} is in use by another evaluation; wait for it, or name another."
            ) from None

    def told(self) -> dict[str, str]:
        """The environment of the processes."""
        return environment(
            {
                "RAGLINE_DATA_DIR": str(self.folder.absolute() / "data"),
                **{f"{name.upper()}_PORT": str(port) for name, port in self.rest.items()},
                **{f"{name.upper()}_GRPC_PORT": str(port) for name, port in self.grpc.items()},
                "PREPROCESS_RETRIEVER_ADDRESS": self.address("retriever"),
                "RETRIEVER_PREPROCESS_ADDRESS": self.address("preprocess"),
                "RETRIEVER_RERANKER_ADDRESS": self.address("reranker"),
                "RAGLINE_LOG_LEVEL": "warning",
                "RAGLINE_LOG_FORMAT": "json",
                "GRPC_VERBOSITY": "ERROR",
                **self.settings,
            }
        )

    def start(self, name: str, told: Mapping[str, str]) -> None:
        """Start a service in a folder without a .env file; it may not be ready yet."""
        with self.log(name).open("wb") as log:
            command = [sys.executable, "-P", "-c", LAUNCH, f"services.{name}", str(Path.cwd())]
            self.running[name] = subprocess.Popen(command, cwd=self.folder, env=told, stdout=log, stderr=log)

    def wait(self, name: str) -> None:
        """Until a service is ready; raises EvaluationError where it has ended, or another that it may wait for."""
        deadline = time.monotonic() + START_S
        while not ready(self.url(name)):
            for each, process in self.running.items():
                if process.poll() is not None:
                    raise EvaluationError(f"The {each} service did not start: {self.reason(each)}")
            if time.monotonic() > deadline:
                raise EvaluationError(f"The {name} service did not start in time: {self.reason(name)}")
            time.sleep(POLL_S)

    def reason(self, name: str) -> str:
        """What a service wrote last: its one sentence where it has one, else the end of its log."""
        text = self.log(name).read_text(errors="replace")
        said = [line for line in text.splitlines() if line.startswith("ragline: ")]
        return said[-1].removeprefix("ragline: ") if said else f"its log ends\n{text[-LOG_CHARS:]}"

    def failure(self, scorer: str) -> str:
        """Why a scorer failed last, as the reranker's log has it; empty where it does not say."""
        with self.log("reranker").open("rb") as log:
            log.seek(max(0, log.seek(0, io.SEEK_END) - LAST_BYTES))
            lines = log.read().splitlines()
        for line in reversed(lines):
            try:
                entry = orjson.loads(line)
            except orjson.JSONDecodeError:  # the first is cut, and a library writes as it likes
                continue
            if isinstance(entry, dict) and entry.get("scorer") == scorer:
                said = str(entry.get("error") or entry.get("exception") or "").strip()
                if said:
                    return said.splitlines()[-1]
        return ""

    def log(self, name: str) -> Path:
        """Where a service writes."""
        return self.folder / f"{name}.log"


def ready(url: str) -> bool:
    """Whether a service says that it is."""
    try:
        return httpx.get(f"{url}/readyz", timeout=5, trust_env=False).status_code == httpx.codes.OK
    except httpx.TransportError:
        return False


def free_ports(count: int) -> list[int]:
    """Ports that were free a moment ago."""
    found: list[int] = []
    for port in random.SystemRandom().sample(PORTS, len(PORTS)):
        try:
            socket.create_server((HOST, port)).close()
        except OSError:
            continue
        found.append(port)
        if len(found) == count:
            return found
    raise EvaluationError(f"{count} free ports are needed between {PORTS.start} and {PORTS.stop}.")
