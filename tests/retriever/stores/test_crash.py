"""Kills (-9) a writing process again and again: what was acknowledged is there, whole, and nothing else."""

from __future__ import annotations

import json
import random
import subprocess
import sys
from itertools import chain
from pathlib import Path

from services.retriever.stores import Store
from tests.retriever.parts import KEY, check, open_store
from tests.retriever.stores import writing

ROOT = Path(__file__).parents[3]
KILLS = 8


class Ledger:
    """What may be in the store: each document's last acknowledged version, and those begun since."""

    def __init__(self) -> None:
        self.sure = dict.fromkeys(chain(writing.DOCUMENTS, *writing.FILES.values()), 0)
        self.maybe: dict[str, int] = {}
        self.version = 0
        self.numbers = {0}  # that were taken
        self.before = 0  # the greatest that earlier processes took

    def note(self, line: bytes) -> bool:
        """Take a line of the process; True where it acknowledges."""
        state, name, version = json.loads(line)
        if state == "number":
            assert version > self.before
            assert version not in self.numbers
            self.numbers.add(version)
            return False
        self.version = max(self.version, version)
        if state == "begin":
            self.maybe[name] = version
            return False
        assert self.maybe.pop(name) == version
        self.sure[name] = version
        return True

    def settle(self, store: Store) -> None:
        """Assert that the store holds each document in a version it may have, and take that for sure."""
        found = {name: version_of(store, name) for name in self.sure}
        for name, version in found.items():
            assert version in {self.sure[name], self.maybe.get(name, self.sure[name])}, name
        self.sure, self.maybe, self.before = found, {}, max(self.numbers)


def version_of(store: Store, name: str) -> int:
    """The version that the record says it holds; 0 where it has none."""
    held = {each.id for each in store.documents(KEY, 1000, "")}
    if name not in held:
        return 0
    return int(store.document(KEY, name, brief=False).passages[0].text.rpartition("version")[2])


def write_and_die(ledger: Ledger, where: list[str], wanted: int) -> None:
    """Let a process write until it acknowledged so many writes, and kill it."""
    command = [sys.executable, "-m", "tests.retriever.stores.writing", json.dumps(where), str(ledger.version)]
    process = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
    assert process.stdout is not None
    for line in process.stdout:
        wanted -= ledger.note(line)
        if not wanted:
            break
    process.kill()
    for line in process.stdout:  # what it said before it died
        if line.endswith(b"\n"):
            ledger.note(line)
    process.stdout.close()
    assert process.wait() == -9, "it died before it was killed"


def test_nothing_acknowledged_is_lost_and_nothing_is_half(tmp_path: Path) -> None:
    dice = random.Random(7)
    ledger = Ledger()
    acknowledged = 0
    for _ in range(KILLS):
        write_and_die(ledger, [str(tmp_path)], dice.randrange(1, 40))
        acknowledged += len(ledger.sure)
        store = open_store(tmp_path)
        ledger.settle(store)
        check(store, {name: writing.texts(name, version) for name, version in ledger.sure.items() if version})
        # The next process must find the files as a kill left them, so this one lets go without tidying up.
        store.writer.healthy = False
        store.close()
    assert ledger.version > 40
