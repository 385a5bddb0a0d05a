"""Room is given back: when asked for, by itself, from records of earlier releases, and over kill -9."""

from __future__ import annotations

import asyncio
import subprocess
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from services.retriever.stores import Scope
from services.retriever.stores import _compact as compaction
from services.retriever.stores.embedded import EmbeddedStore
from tests.retriever.parts import KEY, check, content, open_store

ROOT = Path(__file__).parents[3]
LARGE = "x" * 60_000
KILLS = 5
# Writes a document that stays and one that goes, then compacts and mends, again and again, and says what is in.
SCRIPT = """
import asyncio, sys
from pathlib import Path
from services.retriever.stores import Scope
from tests.retriever.parts import KEY, content, open_store

async def main():
    store = open_store(Path(sys.argv[1]))
    for n in range(int(sys.argv[2]), 1000):
        await store.upsert(KEY, content(f"d{n}", [f"passage {n}"]))
        sys.stderr.write(f"{n}\\n")
        sys.stderr.flush()
        await store.upsert(KEY, content("gone", [f"passage going {n}"]))
        await store.delete(KEY, "gone")
        await asyncio.to_thread(store.compact, Scope())
        held = store.held[KEY]
        store.writer.submit(lambda _: (held.publish(held.current.next(searcher=None)), None), 0).result()
        await asyncio.to_thread(lambda: list(store.verify(Scope(), mend=True)))

asyncio.run(main())
"""


@pytest.fixture
async def store(tmp_path: Path) -> AsyncIterator[EmbeddedStore]:
    opened = open_store(tmp_path)
    await opened.upsert(KEY, content("kept", ["passage that stays"]))
    for n in range(10):
        await opened.upsert(KEY, content(f"large{n}", [f"passage {n} {LARGE}"]))
    yield opened
    opened.close()


async def test_a_file_that_is_free_in_large_part_shrinks_by_itself(
    store: EmbeddedStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(compaction, "FREE_PAGES", 10)
    before = pages(store)
    for n in range(10):
        await store.delete(KEY, f"large{n}")
    for _ in range(3000):  # the writer does so when nobody writes
        if pages(store) < before / 2:
            break
        await asyncio.sleep(0.01)
    assert pages(store) < before / 2
    assert list(store.verify(Scope(), mend=False)) == []


def pages(store: EmbeddedStore) -> int:
    """Of the record's file, as its readers see it."""
    found: int = store.reader.db.execute("PRAGMA page_count").fetchone()[0]
    return found


async def test_the_record_of_an_earlier_release_can_be_made_smaller_too(
    store: EmbeddedStore, tmp_path: Path
) -> None:
    def as_before(_: object) -> tuple[None, None]:
        store.record.db.execute("PRAGMA auto_vacuum = NONE")
        store.record.db.execute("VACUUM")
        return None, None

    store.writer.submit(as_before, 0, alone=True).result()
    assert not compaction.incremental(store.reader.db)
    for n in range(10):
        await store.delete(KEY, f"large{n}")
    before = pages(store)
    await asyncio.to_thread(store.compact, Scope())
    assert pages(store) < before / 2
    assert compaction.incremental(store.reader.db)
    check(store, {"kept": ["passage that stays"]})
    assert list(store.verify(Scope(), mend=False)) == []


async def test_a_reader_of_long_ago_keeps_what_it_sees(store: EmbeddedStore) -> None:
    view = store.view(KEY)
    rows = view.rows.tolist()
    await store.delete(KEY, "large3")
    await asyncio.to_thread(store.compact, Scope())
    assert len(view.fetch(rows)) == 11
    assert len(view.sparse("passage", 100, None)) == 11
    del view
    await asyncio.to_thread(store.compact, Scope())
    assert len(store.view(KEY).fetch(rows)) == 10


def test_kills_between_the_steps_lose_nothing(tmp_path: Path) -> None:
    known = -1
    for turn in range(KILLS):
        command = [sys.executable, "-c", SCRIPT, str(tmp_path), str(known + 1)]
        process = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
        assert process.stderr is not None
        wanted = known + 2 + turn
        for line in process.stderr:
            if line.strip().isdigit():
                known = int(line)
            if known >= wanted:
                break
        process.kill()
        known = max([known, *(int(line) for line in process.stderr.read().split() if line.isdigit())])
        process.stderr.close()
        assert process.wait() == -9, "it died before it was killed"
        store = open_store(tmp_path)
        held = {each.id for each in store.documents(KEY, 1000, "")}
        assert {f"d{n}" for n in range(known + 1)} <= held
        assert not [each.what for each in store.verify(Scope(), mend=True) if each.part != "sparse"]
        assert list(store.verify(Scope(), mend=False)) == []
        store.close()
