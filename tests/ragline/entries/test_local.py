"""Lists in a file and in memory: the contract, other processes, damage, and the URLs."""

import asyncio
import sqlite3
import sys
from pathlib import Path

import pytest

from ragline import entries
from ragline.entries.memory import MemoryEntries
from ragline.entries.sqlite import SqliteEntries
from ragline.errors import Unavailable
from ragline.settings import SettingsError
from tests.ragline.cache.contract import Clock
from tests.ragline.entries.contract import DAY_S, LocalEntriesContract, MakeEntries

APPENDS = """
import asyncio, sys
from ragline import entries
async def main():
    store = entries.open(sys.argv[1])
    for n in range(40):
        await store.append("a", f"{sys.argv[2]} {n}".encode(), ttl_s=3600, limit=1000)
    await store.close()
asyncio.run(main())
"""


@pytest.fixture
def clock() -> Clock:
    return Clock()


class TestMemoryEntries(LocalEntriesContract):
    @pytest.fixture
    def make_entries(self) -> MakeEntries:
        return lambda max_bytes=10_000_000, **given: MemoryEntries(max_bytes, **given)


class TestSqliteEntries(LocalEntriesContract):
    @pytest.fixture
    def make_entries(self, tmp_path: Path) -> MakeEntries:
        return lambda max_bytes=10_000_000, **given: SqliteEntries(tmp_path / "lists.db", max_bytes, **given)


async def test_processes_share_the_file_and_it_outlives_them(tmp_path: Path) -> None:
    url = f"sqlite://{tmp_path / 'lists.db'}"
    runs = [await asyncio.create_subprocess_exec(sys.executable, "-c", APPENDS, url, name) for name in "xy"]
    assert [await run.wait() for run in runs] == [0, 0]
    store = entries.open(url)
    found = [entry.decode() for entry in await store.read("a")]
    assert [entry for entry in found if entry.startswith("x")] == [f"x {n}" for n in range(40)]
    assert [entry for entry in found if entry.startswith("y")] == [f"y {n}" for n in range(40)]
    await store.close()


async def test_a_cancelled_append_is_whole_or_not_there(tmp_path: Path) -> None:
    store = SqliteEntries(tmp_path / "lists.db", 10_000_000)
    task = asyncio.create_task(store.append("a", b"1", ttl_s=DAY_S, limit=3))
    await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    await store.append("a", b"2", ttl_s=DAY_S, limit=3)
    assert (await store.read("a"))[-1] == b"2"
    await store.close()


async def test_a_locked_or_closed_file_is_unavailable(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ragline.entries.sqlite.BUSY_S", 0.05)
    store = SqliteEntries(tmp_path / "lists.db", 10_000_000)
    with sqlite3.connect(tmp_path / "lists.db", isolation_level=None) as other:
        other.execute("BEGIN IMMEDIATE")
        with pytest.raises(Unavailable, match="locked"):
            await store.append("a", b"1", ttl_s=DAY_S, limit=3)
        assert await store.read("a") == []  # readers need not wait for a writer
        other.execute("ROLLBACK")
    other.close()
    await store.check()
    await store.close()
    with pytest.raises(Unavailable, match="closed"):
        await store.read("a")


def test_a_file_that_is_none_of_ours_stops_the_start(tmp_path: Path) -> None:
    (tmp_path / "text.db").write_text("no database, but quite some text" * 200)
    with pytest.raises(SettingsError, match=r"text\.db cannot be opened"):
        entries.open(f"sqlite://{tmp_path / 'text.db'}")
    later = sqlite3.connect(tmp_path / "later.db")
    later.execute("PRAGMA user_version = 9")
    later.close()
    with pytest.raises(SettingsError, match="version 9"):
        entries.open(f"sqlite://{tmp_path / 'later.db'}")


@pytest.mark.parametrize(
    ("url", "sentence"),
    [
        ("file:///x", "memory://, sqlite://"),
        ("memory://?max_gb=1", "max_mb"),
        ("sqlite://", "names no file"),
        ("redis://host?ttl_s=3", "ttl_s"),
    ],
)
def test_bad_urls_stop_the_start(url: str, sentence: str) -> None:
    with pytest.raises(SettingsError, match=sentence):
        entries.open(url)
