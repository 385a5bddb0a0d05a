"""Writes to a store until it is killed: run as a process by test_crash.py.

Each line on stdout is ``begin`` or ``done``, a document and a version (0: deleted), as JSON.
"""

from __future__ import annotations

import asyncio
import json
import random
import sys
from pathlib import Path

from ragline import log
from tests.retriever.parts import KEY, content, open_store

DOCUMENTS = 12
WRITERS = 4


def texts(name: str, version: int) -> list[str]:
    """A document's passages; how many depends on the version."""
    return [f"passage {n} of {name} version{version}" for n in range(1 + version % 5)]


def say(state: str, name: str, version: int) -> None:
    """One line, at once."""
    sys.stdout.write(json.dumps([state, name, version]) + "\n")
    sys.stdout.flush()


async def main(folder: Path, held: set[str], version: int) -> None:
    """Writers side by side, each with documents of its own, so that groups form."""
    store = open_store(folder)
    dice = random.Random(version)

    async def write(own: list[str]) -> None:
        nonlocal version
        while True:
            name = dice.choice(own)
            version += 1
            if name in held and dice.random() < 0.3:
                say("begin", name, 0)
                await store.delete(KEY, name)
                held.discard(name)
                say("done", name, 0)
            else:
                mine = version
                say("begin", name, mine)
                await store.upsert(KEY, content(name, texts(name, mine)))
                held.add(name)
                say("done", name, mine)

    names = [f"d{n}" for n in range(DOCUMENTS)]
    await asyncio.gather(*(write(names[n::WRITERS]) for n in range(WRITERS)))


if __name__ == "__main__":
    log.configure("warning", "json")  # to stderr: stdout is for what was acknowledged
    asyncio.run(main(Path(sys.argv[1]), set(json.loads(sys.argv[2])), int(sys.argv[3])))
