"""A real RabbitMQ node for tests, with its own epmd, cookie, ports and files beside those of any other node."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import socket
import subprocess
import time
from pathlib import Path

from tests.servers.freezing import freeze
from tests.servers.started import Started
from tests.suite import free_ports

# Before Debian's wrappers of the same names, which change user and folder when root calls them.
PROGRAMS = "/usr/lib/rabbitmq/bin"
PATH = f"{PROGRAMS}:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
HOST = "127.0.0.1"
USER = "guest"
START_S = 90.0
STOP_S = 30.0
HELLO = b"AMQP\x00\x00\x09\x01"
# Few schedulers that do not spin: several nodes share a machine with what they serve.
ERLANG = "+S 2:2 +sbwt none +sbwtdcpu none +sbwtdio none -kernel inet_dist_use_interface {127,0,0,1}"


class RabbitmqServer(Started):
    """``rabbitmq-server`` on a port of its own, with its files in ``folder``; a context manager that ends it.

    ``config`` are lines for its rabbitmq.conf, ``erlang`` arguments for what has no line there, ``plugins`` what
    it enables. What is durable stays over ``stop`` or ``kill`` and ``start``.
    """

    def __init__(self, folder: Path, *, config: str = "", erlang: str = "", plugins: tuple[str, ...] = ()) -> None:
        self.folder = folder
        self.port, distribution, epmd = free_ports(3)
        self.url = f"amqp://{USER}:{USER}@{HOST}:{self.port}"
        self.config = config
        self.plugins = plugins
        self.environment = {
            "PATH": PATH,
            "HOME": str(folder / "home"),  # where the Erlang cookie is
            "LANG": "C.UTF-8",
            "ERL_EPMD_PORT": str(epmd),
            "ERL_EPMD_ADDRESS": HOST,
            "RABBITMQ_NODENAME": f"test{self.port}@localhost",
            "RABBITMQ_MNESIA_BASE": str(folder / "mnesia"),
            "RABBITMQ_LOG_BASE": str(folder / "log"),
            "RABBITMQ_LOGS": "-",
            "RABBITMQ_DIST_PORT": str(distribution),
            "RABBITMQ_CONFIG_FILE": str(folder / "rabbitmq.conf"),
            "RABBITMQ_ENABLED_PLUGINS_FILE": str(folder / "plugins"),
            "RABBITMQ_CONF_ENV_FILE": os.devnull,
            "RABBITMQ_PID_FILE": str(folder / "pid"),
            "RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS": f"{ERLANG} {erlang}",
            "ERL_CRASH_DUMP": str(folder / "crash"),
            "RABBITMQ_ALLOW_INPUT": "1",  # the script becomes the server: one process to signal
        }
        self.epmd_port = epmd
        self.epmd: subprocess.Popen[bytes] | None = None
        self.watcher: subprocess.Popen[bytes] | None = None
        self.process: subprocess.Popen[bytes] | None = None

    @property
    def log(self) -> str:
        """What it wrote so far."""
        return (self.folder / "out").read_text(errors="replace")

    def start(self) -> None:
        """Start it and wait until it answers; raises RuntimeError with its log when it does not."""
        self.launch()
        deadline = time.monotonic() + START_S
        while not self.answers():
            assert self.process is not None
            if self.process.poll() is not None or time.monotonic() > deadline:
                self.kill()
                raise RuntimeError(f"rabbitmq-server did not start:\n{self.log[-4000:]}")
            time.sleep(0.05)

    def launch(self) -> None:
        """Start it without waiting."""
        for name in ("home", "mnesia", "log"):
            (self.folder / name).mkdir(parents=True, exist_ok=True)
        (self.folder / "plugins").write_text(f"[{','.join(self.plugins)}].\n")
        (self.folder / "rabbitmq.conf").write_text(
            f"listeners.tcp.default = {HOST}:{self.port}\ndisk_free_limit.absolute = 50MB\n{self.config}\n"
        )
        with (self.folder / "out").open("ab") as out:
            # In the foreground, so that it ends with the node; the server would start one that stays behind.
            program = shutil.which("epmd", path=PATH) or "epmd"
            self.epmd = subprocess.Popen([program], env=self.environment, stdout=out, stderr=out)
            self.wait_for_epmd()
            self.process = subprocess.Popen(
                [f"{PROGRAMS}/rabbitmq-server", "-noinput"],
                env=self.environment,
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=out,
                start_new_session=True,
            )
        # Should the tests be killed, its input ends, and it ends the two.
        script = f"cat > /dev/null; kill -s KILL -- -{self.process.pid}; kill -s KILL {self.epmd.pid}"
        self.watcher = subprocess.Popen(
            ["/bin/sh", "-c", script], stdin=subprocess.PIPE, stderr=subprocess.DEVNULL, start_new_session=True
        )

    def wait_for_epmd(self) -> None:
        """Wait until names can be registered: without, the server starts a daemon of its own."""
        deadline = time.monotonic() + START_S
        while time.monotonic() < deadline:
            with contextlib.suppress(OSError), socket.create_connection((HOST, self.epmd_port), timeout=1):
                return
            time.sleep(0.01)

    def answers(self) -> bool:
        """Whether clients can connect."""
        try:
            with socket.create_connection((HOST, self.port), timeout=5) as connection:
                connection.sendall(HELLO)
                return connection.recv(1) == b"\x01"  # the frame that begins a login
        except OSError:
            return False

    def kill(self) -> None:
        """End it as a power cut would (kill -9); one that is paused too."""
        self.signal(signal.SIGKILL)
        self.reap()

    def stop(self) -> None:
        """Let it write what it keeps and end."""
        if self.process is None:
            return
        self.resume()
        self.process.send_signal(signal.SIGTERM)
        try:
            self.process.wait(STOP_S)
        except subprocess.TimeoutExpired:
            self.signal(signal.SIGKILL)
        self.reap()

    def pause(self) -> None:
        """Stop its clock: connections stay, nothing is answered (SIGSTOP)."""
        if self.process is not None and self.process.poll() is None:
            freeze(self.process.pid, group=True)

    def resume(self) -> None:
        """Let it go on (SIGCONT)."""
        self.signal(signal.SIGCONT)

    def signal(self, number: signal.Signals) -> None:
        """Send a signal to the whole program; nothing where it does not run."""
        if self.process is not None and self.process.poll() is None:
            os.killpg(self.process.pid, number)

    def reap(self) -> None:
        """Wait for the end of what was told to end, and end what served it."""
        if self.watcher is not None:
            self.watcher.kill()
            self.watcher.communicate()
            self.watcher = None
        if self.process is not None:
            self.process.wait(STOP_S)
            self.process = None
        if self.epmd is not None:
            self.epmd.kill()
            self.epmd.wait(STOP_S)
            self.epmd = None

    def control(self, *words: str) -> str:
        """What ``rabbitmqctl`` says to a command; raises CalledProcessError where that fails."""
        command = [f"{PROGRAMS}/rabbitmqctl", "--quiet", *words]
        ended = subprocess.run(
            command, env=self.environment, capture_output=True, text=True, check=True, timeout=START_S
        )
        return ended.stdout
