"""Writes to a store until it is killed: run as a process by test_crash.py.

Each line on stdout is ``begin`` or ``done``, a document and a version (0: deleted), or ``number`` and one that was
taken, as JSON.
"""

from __future__ import annotations

import asyncio
import json
import random
import sys
from pathlib import Path

from ragline import log
from services.retriever.stores import Store
from tests.retriever.milvus import open_milvus
from tests.retriever.parts import KEY, content, open_store

DOCUMENTS = [f"d{n}" for n in range(12)]
FILES = {f"f{n}": [f"f{n}#{i}" for i in range(3)] for n in range(4)}  # of many, with all that they may hold
WRITERS = 4


def texts(name: str, version: int) -> list[str]:
    """A document's passages; how many depends on the version."""
    return [f"passage {n} of {name} version{version}" for n in range(1 + version % 5)]


def say(state: str, name: str, version: int) -> None:
    """One line, at once."""
    sys.stdout.write(json.dumps([state, name, version]) + "\n")
    sys.stdout.flush()


class Writing:
    """Random writes; ``version`` is the last one used before."""

    def __init__(self, store: Store, version: int) -> None:
        self.store = store
        self.version = version
        self.dice = random.Random(version)

    async def number(self) -> int:
        """A place in the order, which no one had before."""
        taken = await self.store.reserve(1)
        say("number", "", taken)
        return taken

    async def write(self, own: list[str]) -> None:
        """Go on for ever, each write of a document or a file after the other."""
        while True:
            name = self.dice.choice(own)
            late, seq = await self.number(), await self.number()
            self.version += 1
            version = 0 if self.dice.random() < 0.3 else self.version
            members = FILES.get(name, [name])
            held = members[: 1 + version % len(members)] if version else []
            for member in members:
                say("begin", member, version if member in held else 0)
            await self.store_all(name, held, version, seq)
            for member in members:
                say("done", member, version if member in held else 0)
            # What an overtaken worker would still send.
            made = content(held[0] if held else name, ["passage late"])
            done = await self.store.upsert(KEY, made, seq=late, container=name if name in FILES else "")
            assert done.stale

    async def store_all(self, name: str, held: list[str], version: int, seq: int) -> None:
        """The write itself, as preprocess does it."""
        if not version:
            await self.store.delete(KEY, name, seq=seq)
        elif name not in FILES:
            await self.store.upsert(KEY, content(name, texts(name, version)), seq=seq)
        else:
            for member in held:
                made = content(member, texts(member, version))
                await self.store.upsert(KEY, made, seq=seq, container=name)
            await self.store.settle(KEY, name, held, seq=seq)


async def main(store: Store, version: int) -> None:
    """Writers side by side, each with documents of its own, so that groups form."""
    writing = Writing(store, version)
    names = [*DOCUMENTS, *FILES]
    async with asyncio.TaskGroup() as group:
        for n in range(WRITERS):
            group.create_task(writing.write(names[n::WRITERS]))


if __name__ == "__main__":
    log.configure("warning", "json")  # to stderr: stdout is for what was acknowledged
    where, begun = json.loads(sys.argv[1]), int(sys.argv[2])
    opened = open_store(Path(where[0])) if len(where) == 1 else open_milvus(*where)
    asyncio.run(main(opened, begun))
