"""The command line as people run it: a process of its own, in a folder of its own, against the running suite."""

import os
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import count
from pathlib import Path

import httpx
import pytest

from tests.suite import Suite

RAGLINE = str(Path(sys.executable).parent / "ragline")
NUMBERS = count(1)


@dataclass(frozen=True)
class Said:
    """What one run of the command line said."""

    status: int
    out: str
    err: str


@dataclass(frozen=True)
class Shell:
    """A folder to run commands in; ``url`` is where they find the suite."""

    folder: Path
    url: str

    def command(self, *arguments: str) -> list[str]:
        return [RAGLINE, *arguments]

    def environment(self, **more: str) -> dict[str, str]:
        # A terminal wide enough that no line is broken.
        return {**os.environ, "RAGLINE_URL": self.url, "COLUMNS": "200", **more}

    def run(self, *arguments: str, **environment: str) -> Said:
        """Run to the end; whatever happened, nobody gets to see a traceback."""
        ended = subprocess.run(
            self.command(*arguments),
            cwd=self.folder,
            env=self.environment(**environment),
            capture_output=True,
            text=True,
            check=False,
            timeout=200,
        )
        assert "Traceback" not in ended.stdout + ended.stderr
        return Said(ended.returncode, ended.stdout, ended.stderr)

    def write(self, name: str, content: str | bytes) -> Path:
        path = self.folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
        return path


@pytest.fixture
def shell(suite: Suite, tmp_path: Path) -> Shell:
    return Shell(tmp_path, suite.url)


@pytest.fixture
def nobody(tmp_path: Path) -> Shell:
    """A shell whose URL nothing answers at."""
    return Shell(tmp_path, "http://127.0.0.1:1")


@pytest.fixture
def collection() -> str:
    """A collection that no other test knows."""
    return f"cli-{next(NUMBERS)}"


@pytest.fixture
def client(suite: Suite) -> Iterator[httpx.Client]:
    with suite.client() as client:
        yield client
