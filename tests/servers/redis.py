"""Real Redis servers for tests: one alone, a primary with a replica under Sentinel, a cluster of three."""

from __future__ import annotations

import signal
import socket
import subprocess
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from types import TracebackType
from typing import Self

from tests.servers.freezing import freeze
from tests.servers.started import Started
from tests.suite import free_ports

PROGRAM = "redis-server"
HOST = "127.0.0.1"
START_S = 60.0
CLUSTER_BUS = 10_000  # a cluster node also listens this far above its port


class RedisServer(Started):
    """``redis-server`` on a port of its own, with its files in ``folder``; a context manager that ends it.

    ``options`` are directives of its configuration, such as ``{"requirepass": "x"}``. It keeps what it holds over
    ``stop`` and ``start`` only where ``keep`` is set.
    """

    def __init__(
        self, folder: Path, *, port: int = 0, keep: bool = False, options: dict[str, str] | None = None
    ) -> None:
        self.folder = folder
        self.port = port or free_ports(1)[0]
        self.url = f"redis://{HOST}:{self.port}"
        self.options = {"appendonly": "yes" if keep else "no", **(options or {})}
        self.process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Start it and wait until it answers; raises RuntimeError with its log when it does not."""
        self.folder.mkdir(parents=True, exist_ok=True)
        with (self.folder / "log").open("ab") as log:
            self.process = subprocess.Popen(self.command(), stdout=log, stderr=log)
        deadline = time.monotonic() + START_S
        while not self.answers():
            if self.process.poll() is not None or time.monotonic() > deadline:
                raise RuntimeError(f"redis-server did not start:\n{(self.folder / 'log').read_text()[-2000:]}")
            time.sleep(0.02)

    def command(self) -> list[str]:
        """How it is started."""
        fixed = {"port": str(self.port), "bind": HOST, "dir": str(self.folder), "save": ""}
        words = [PROGRAM]
        for name, value in (fixed | self.options).items():
            words += [f"--{name}", *(value.split(" ") if value else [""])]
        return words

    def answers(self) -> bool:
        """Whether it is up and has read its files; a login that it wants is an answer."""
        try:
            with socket.create_connection((HOST, self.port), timeout=1) as connection:
                connection.sendall(b"PING\r\n")
                said = connection.recv(64)
        except OSError:
            return False
        return said.startswith((b"+PONG", b"-NOAUTH"))

    def kill(self) -> None:
        """End it as a power cut would (kill -9); one that is paused too."""
        self.end(signal.SIGKILL)

    def stop(self) -> None:
        """Let it write what it keeps and end."""
        self.resume()
        self.end(signal.SIGTERM)

    def end(self, how: signal.Signals) -> None:
        """Send the signal and wait; nothing where it does not run."""
        if self.process is not None:
            self.process.send_signal(how)
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

    def flush(self) -> None:
        """Make it forget everything."""
        self.say("FLUSHALL")

    def say(self, *words: str) -> str:
        """What it answers to a command."""
        login = ["-a", self.options["requirepass"], "--no-auth-warning"] if "requirepass" in self.options else []
        return cli(self.port, *login, *words)


class Sentinels:
    """A primary, its replica and three sentinels, two of which agree on a failover; a context manager."""

    group = "main"

    def __init__(self, folder: Path) -> None:
        primary, replica, *watchers = free_ports(5)
        self.primary = RedisServer(folder / "primary", port=primary)
        self.replica = RedisServer(folder / "replica", port=replica, options={"replicaof": f"{HOST} {primary}"})
        self.sentinels = [Sentinel(folder / f"sentinel{n}", port, self) for n, port in enumerate(watchers)]
        hosts = ",".join(f"{HOST}:{port}" for port in watchers)
        self.url = f"redis+sentinel://{hosts}/{self.group}/0"

    def __enter__(self) -> Self:
        for server in (self.primary, self.replica, *self.sentinels):
            server.start()
        wait_until(self.ready, "the sentinels did not find each other and the replica")
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for server in (*self.sentinels, self.replica, self.primary):
            server.kill()

    def ready(self) -> bool:
        """Whether a failover can be done: each sentinel knows the two others and the replica, which is in step."""
        if "master_link_status:up" not in self.replica.say("INFO", "replication"):
            return False
        for sentinel in self.sentinels:
            words = sentinel.say("SENTINEL", "MASTER", self.group).splitlines()
            known = dict(zip(words[::2], words[1::2], strict=False))
            if (known.get("num-slaves"), known.get("num-other-sentinels")) != ("1", "2"):
                return False
        return True


class Sentinel(RedisServer):
    """One sentinel of a trio."""

    def __init__(self, folder: Path, port: int, trio: Sentinels) -> None:
        super().__init__(folder, port=port)
        self.trio = trio

    def command(self) -> list[str]:
        """A sentinel writes what it finds out into its own configuration."""
        file = self.folder / "sentinel.conf"
        group = self.trio.group
        file.write_text(
            f"port {self.port}\nbind {HOST}\ndir {self.folder}\n"
            f"sentinel monitor {group} {HOST} {self.trio.primary.port} 2\n"
            f"sentinel down-after-milliseconds {group} 500\n"
            f"sentinel failover-timeout {group} 3000\n"
        )
        return [PROGRAM, str(file), "--sentinel"]


class Cluster:
    """Three nodes that share the slots, without replicas; a context manager."""

    def __init__(self, folder: Path) -> None:
        options = {"cluster-enabled": "yes", "cluster-node-timeout": "1000", "cluster-config-file": "nodes.conf"}
        self.nodes = [
            RedisServer(folder / f"node{n}", port=port, options=options) for n, port in enumerate(node_ports(3))
        ]
        self.url = f"redis+cluster://{','.join(f'{HOST}:{node.port}' for node in self.nodes)}"

    def __enter__(self) -> Self:
        for node in self.nodes:
            node.start()
        addresses = [f"{HOST}:{node.port}" for node in self.nodes]
        cli(self.nodes[0].port, "--cluster", "create", *addresses, "--cluster-yes")
        wait_until(self.ready, "the cluster did not form")
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for node in self.nodes:
            node.kill()

    def ready(self) -> bool:
        """Whether each node says that all slots are served."""
        return all("cluster_state:ok" in node.say("CLUSTER", "INFO") for node in self.nodes)


def node_ports(count: int) -> Sequence[int]:
    """Free ports whose bus ports are free, too."""
    while True:
        ports = free_ports(count)
        try:
            for port in ports:
                socket.create_server((HOST, port + CLUSTER_BUS)).close()
        except OSError:
            continue
        return ports


def cli(port: int, *words: str) -> str:
    """What a server on this machine answers to ``redis-cli``; raises CalledProcessError where that fails."""
    command = ["redis-cli", "-h", HOST, "-p", str(port), *words]
    return subprocess.run(command, capture_output=True, text=True, check=True, timeout=START_S).stdout


def wait_until(ready: Callable[[], bool], otherwise: str) -> None:
    """Wait for a condition; raises RuntimeError when it does not come true."""
    deadline = time.monotonic() + START_S
    while not ready():
        if time.monotonic() > deadline:
            raise RuntimeError(otherwise)
        time.sleep(0.05)
