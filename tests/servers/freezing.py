"""Stops the clock of programs: SIGSTOP, and the wait until all of their threads have really stopped."""

from __future__ import annotations

import contextlib
import os
import signal
import time
from collections.abc import Iterator
from pathlib import Path

STOPPED = "T"
WAIT_S = 30.0


def freeze(pid: int, *, group: bool = False) -> None:
    """Stop a process, or all of its process group; returns once nothing of it runs any more.

    The signal alone returns before that: on a busy machine a thread of it may answer for a while yet.
    """
    (os.killpg if group else os.kill)(pid, signal.SIGSTOP)
    deadline = time.monotonic() + WAIT_S
    while any(state not in {STOPPED, "Z", "X"} for state in states(pid, group=group)):
        assert time.monotonic() < deadline, f"process {pid} did not stop"
        time.sleep(0.002)


def states(pid: int, *, group: bool) -> Iterator[str]:
    """The states of all threads."""
    for process in members(pid) if group else [Path(f"/proc/{pid}")]:
        with contextlib.suppress(OSError):  # it has just ended
            for thread in (process / "task").iterdir():
                with contextlib.suppress(OSError):
                    yield fields(thread / "stat")[0]


def members(group: int) -> Iterator[Path]:
    """The processes of a process group."""
    for stat in Path("/proc").glob("[0-9]*/stat"):
        with contextlib.suppress(OSError):
            if fields(stat)[2] == str(group):
                yield stat.parent


def fields(stat: Path) -> list[str]:
    """State, parent, process group and so on: what stands behind the name, which may hold anything."""
    return stat.read_text().rpartition(")")[2].split()
