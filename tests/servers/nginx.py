"""A real nginx for tests: the shipped door, as its own start script runs it, on free ports and in a folder."""

from __future__ import annotations

import getpass
import json
import os
import signal
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import httpx

from tests.servers.freezing import freeze
from tests.servers.started import Started
from tests.suite import free_ports

PROGRAM = "nginx"
HOST = "127.0.0.1"
SCRIPT = Path(__file__).parent.parent.parent / "nginx" / "start.sh"
SERVICES = ("preprocess", "retriever", "reranker", "generator")
START_S = 60.0
SBIN = "/usr/sbin:/sbin"


class Nginx(Started):
    """The door in front of ``upstreams`` (service: addresses as ``host:port``); a context manager that ends it.

    ``variables`` are settings of nginx/settings.env. Addresses are found as in production, by asking for names
    again and again; here the answers are files, which ``set_upstreams`` writes. ``templates`` are replacements in
    the templates, for times that are no settings and that a test will not wait for.
    """

    def __init__(
        self,
        folder: Path,
        upstreams: Mapping[str, Sequence[str]] | None = None,
        *,
        templates: Mapping[str, str] | None = None,
        **variables: str,
    ) -> None:
        self.folder = folder
        self.run = folder / "run"
        self.port, status_port = free_ports(2)
        self.url = f"http://{HOST}:{self.port}"
        self.status_url = f"http://{HOST}:{status_port}/status"
        self.names = folder / "names"
        self.names.mkdir(parents=True, exist_ok=True)
        inherited = {name: value for name, value in os.environ.items() if not name.startswith("NGINX_")}
        self.environment = {
            **inherited,
            "PATH": f"{os.environ['PATH']}:{SBIN}",
            "NGINX_HOST": HOST,
            "NGINX_PORT": str(self.port),
            "NGINX_STATUS_ADDRESS": f"{HOST}:{status_port}",
            "NGINX_RESOLVE": f"/bin/sh {self.resolver()}",
            "NGINX_USER": getpass.getuser(),
            "NGINX_RUN_DIR": str(self.run),
            "NGINX_ACCESS_LOG": str(folder / "access.log"),
            **{f"NGINX_{name.upper()}_ADDRESS": f"{name}:1" for name in SERVICES},
            **variables,
        }
        script = changed(folder / "nginx", templates) if templates else SCRIPT
        self.command = ["/bin/sh", str(script)]
        self.user: int | None = None  # who it is started as; None: whoever runs the test
        self.process: subprocess.Popen[bytes] | None = None
        self.name(upstreams or {})

    def resolver(self) -> Path:
        """The command that answers what a name stands for."""
        script = self.folder / "resolve.sh"
        script.write_text(f'cat "{self.names}/$1"\n')
        return script

    def name(self, upstreams: Mapping[str, Sequence[str]]) -> None:
        """Say where services are from now on."""
        for service, addresses in upstreams.items():
            new = self.names / f".{service}"
            new.write_text("".join(f"{address}\n" for address in addresses))
            new.replace(self.names / service)

    def start(self) -> None:
        """Start it and wait until it answers; raises RuntimeError with its log when it does not."""
        with (self.folder / "log").open("ab") as log:
            self.process = subprocess.Popen(
                self.command,
                env=self.environment,
                stdout=log,
                stderr=log,
                start_new_session=True,
                user=self.user,
            )
        wait_until(lambda: self.answers() or self.ended(), lambda: f"nginx did not start:\n{self.log[-4000:]}")
        if self.ended():
            raise RuntimeError(f"nginx did not start:\n{self.log[-4000:]}")

    def answers(self) -> bool:
        """Whether it says that it lives."""
        try:
            return httpx.get(f"{self.url}/healthz", timeout=5, trust_env=False).status_code == httpx.codes.OK
        except httpx.TransportError:
            return False

    def ended(self) -> bool:
        """Whether its process is gone."""
        return self.process is None or self.process.poll() is not None

    @property
    def log(self) -> str:
        """What it and its start script said so far."""
        return (self.folder / "log").read_text(errors="replace")

    def requests(self) -> list[dict[str, Any]]:
        """The lines of its access log."""
        return [json.loads(line) for line in (self.folder / "access.log").read_text().splitlines()]

    def set_upstreams(self, upstreams: Mapping[str, Sequence[str]]) -> None:
        """Say where services are from now on and wait until the door has followed."""
        before = self.workers()
        changes = any(self.listed(service) != sorted(addresses) for service, addresses in upstreams.items())
        self.name(upstreams)
        wait_until(
            lambda: all(self.listed(service) == sorted(found) for service, found in upstreams.items()),
            lambda: f"the door did not follow {dict(upstreams)}:\n{self.log[-4000:]}",
        )
        if changes:
            self.await_workers(before)

    def listed(self, service: str) -> list[str]:
        """The addresses of a service that the door uses."""
        file = self.run / "upstreams" / f"{service}.list"
        return file.read_text().split() if file.exists() else []

    def reload(self) -> None:
        """Make it read its templates again and wait until new processes have taken over."""
        before = self.workers()
        self.send(signal.SIGHUP)
        self.await_workers(before)

    def await_workers(self, before: set[int]) -> None:
        """Wait until none of the processes in ``before`` takes new connections."""
        wait_until(
            lambda: bool(self.workers()) and not self.workers() & before,
            lambda: f"the door did not reload:\n{self.log[-4000:]}",
        )

    def workers(self) -> set[int]:
        """Its processes that take connections; those that only end what they began do not count."""
        master = int((self.run / "nginx.pid").read_text())
        found = set()
        for child in Path(f"/proc/{master}/task/{master}/children").read_text().split():
            try:
                title = Path(f"/proc/{child}/cmdline").read_bytes()
            except OSError:  # it has just ended
                continue
            if title.startswith(b"nginx: worker process") and b"shutting down" not in title:
                found.add(int(child))
        return found

    def send(self, what: signal.Signals) -> None:
        """Signal the start script, as a container's runtime does."""
        assert self.process is not None
        self.process.send_signal(what)

    def stop(self) -> int:
        """Let it drain; returns its exit status."""
        assert self.process is not None
        self.resume()
        self.send(signal.SIGTERM)
        return self.process.wait(START_S)

    def kill(self) -> None:
        """End all of it as a power cut would (kill -9)."""
        if self.process is not None:
            self.signal_all(signal.SIGKILL)
            self.process.wait()

    def pause(self) -> None:
        """Stop its clock: connections stay, nothing is answered (SIGSTOP)."""
        assert self.process is not None
        freeze(self.process.pid, group=True)

    def resume(self) -> None:
        """Let it go on (SIGCONT)."""
        self.signal_all(signal.SIGCONT)

    def signal_all(self, what: signal.Signals) -> None:
        """Signal every process of it."""
        assert self.process is not None
        try:
            os.killpg(self.process.pid, what)
        except ProcessLookupError:
            return

    def client(self, timeout_s: float = 120.0) -> httpx.Client:
        """An HTTP client of the door."""
        return httpx.Client(base_url=self.url, timeout=timeout_s, trust_env=False)


def version() -> tuple[int, ...]:
    """Of the nginx that is installed."""
    environment = {"PATH": f"{os.environ['PATH']}:{SBIN}"}
    said = subprocess.run([PROGRAM, "-v"], env=environment, capture_output=True, text=True, check=True).stderr
    numbers = said.partition("nginx/")[2].split()[0]
    return tuple(int(number) for number in numbers.split("."))


def changed(folder: Path, replacements: Mapping[str, str]) -> Path:
    """A copy of the door's files with each text replaced that is a key; returns its start script."""
    folder.mkdir()
    whole = {file.name: file.read_text() for file in SCRIPT.parent.iterdir() if file.is_file()}
    for old, new in replacements.items():
        if not any(old in text for text in whole.values()):
            raise ValueError(f"{old!r} stands in no template")
        whole = {name: text.replace(old, new) for name, text in whole.items()}
    for name, text in whole.items():
        (folder / name).write_text(text)
    return folder / SCRIPT.name


def wait_until(ready: Callable[[], bool], otherwise: Callable[[], str]) -> None:
    """Wait for a condition; raises RuntimeError when it does not come true."""
    deadline = time.monotonic() + START_S
    while not ready():
        if time.monotonic() > deadline:
            raise RuntimeError(otherwise())
        time.sleep(0.02)
