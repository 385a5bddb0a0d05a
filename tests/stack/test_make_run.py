"""The way a user starts and ends it: ``make run``, a question, Ctrl-C."""

import os
import pty
import re
import shutil
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest

from tests.ragline.cli.conftest import RAGLINE
from tests.suite import Suite

pytestmark = [pytest.mark.models, pytest.mark.stack]

ROOT = Path(__file__).parents[2]
VENV = Path(sys.prefix)
READY = re.compile(r"Ragline is ready at (http://[\d.:]+)")


class Terminal:
    """A terminal of its own with ``make run`` in it, and what is to be read on it."""

    def __init__(self, environment: dict[str, str]) -> None:
        self.master, inner = pty.openpty()
        make = shutil.which("make")
        assert make is not None
        # What is installed already is taken as it is: the environment is that of the running tests.
        command = [make, "run", f"VENV={VENV}", *(f"--old-file={VENV}/{name}" for name in (".default", ".dev"))]
        self.process = subprocess.Popen(
            command, cwd=ROOT, env=environment, stdin=inner, stdout=inner, stderr=inner, start_new_session=True
        )
        os.close(inner)
        self.text = ""
        self.changed = threading.Condition()
        self.reader = threading.Thread(target=self.read)
        self.reader.start()

    def read(self) -> None:
        """Take over what is written until nobody is left who could write."""
        with suppress(OSError):  # how Linux says that the other end is closed
            while piece := os.read(self.master, 65536):
                with self.changed:
                    self.text += piece.decode(errors="replace")
                    self.changed.notify_all()
        with self.changed:
            self.changed.notify_all()

    def wait_for(self, pattern: re.Pattern[str], timeout_s: float) -> re.Match[str]:
        """The first place where ``pattern`` stands on the terminal."""
        with self.changed:
            self.changed.wait_for(lambda: pattern.search(self.text) or self.process.poll() is not None, timeout_s)
        found = pattern.search(self.text)
        assert found, self.text
        return found

    def press_ctrl_c(self) -> int:
        """Interrupt all that runs in the terminal, as its Ctrl-C does; returns make's exit status."""
        os.killpg(self.process.pid, signal.SIGINT)
        return self.process.wait(60)


@contextmanager
def terminal(environment: dict[str, str]) -> Iterator[Terminal]:
    """A terminal whose processes are gone at the end, whatever happens."""
    opened = Terminal(environment)
    try:
        yield opened
    finally:
        with suppress(ProcessLookupError):
            os.killpg(opened.process.pid, signal.SIGKILL)
        opened.process.wait()
        opened.reader.join()
        os.close(opened.master)


def test_make_run_to_a_cited_answer_and_ctrl_c(tmp_path: Path, minilm: Path, smollm2: Path) -> None:
    suite = Suite(tmp_path)  # for its ports and its folder alone
    note = tmp_path / "note.md"
    note.write_text("# Keeper\n\nThe lighthouse keeper winds the clock at dusk.")
    environment = {**suite.environment, "COLUMNS": "200"}
    with terminal(environment) as window:
        url = window.wait_for(READY, 240)[1]
        assert url == suite.url
        for command in (["ingest", "note.md"], ["ask", "When does the keeper wind the clock?"]):
            said = subprocess.run(
                [RAGLINE, *command], cwd=tmp_path, env=environment, capture_output=True, text=True, check=True
            )
        assert "dusk" in said.stdout
        assert "[1] note.md: “" in said.stdout
        status = window.press_ctrl_c()
    assert status in {0, 2, 130, -signal.SIGINT}, window.text  # make itself may say that it was interrupted
    assert "Traceback" not in window.text
    assert not suite.ready()
    # Nothing that was put in is lost by the stop, and the second start finds it.
    with suite, suite.client() as client:
        assert client.get("/documents/note.md").json()["text"] == note.read_text()
