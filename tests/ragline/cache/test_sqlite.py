"""The cache in a file: the contract of all caches, damage, and sharing."""

import asyncio
import sqlite3
from itertools import count
from pathlib import Path

import pytest

from ragline import cache as caches
from ragline.cache.sqlite import SqliteCache
from ragline.settings import SettingsError
from tests.ragline.cache.contract import Clock, LocalCacheContract, MakeCache


class TestSqliteCache(LocalCacheContract):
    @pytest.fixture
    def make_cache(self, tmp_path: Path, clock: Clock) -> MakeCache:
        numbers = count()
        return lambda max_bytes=10_000_000: SqliteCache(tmp_path / f"{next(numbers)}.db", max_bytes, clock)


def put_aside(folder: Path) -> list[Path]:
    return sorted(folder.glob("cache.db.damaged-*"))


async def test_it_is_kept_between_starts(tmp_path: Path) -> None:
    url = f"sqlite://{tmp_path}/folder/cache.db?max_mb=8"
    first = caches.open(url)
    await first.set_many({"a": b"1"})
    await first.close()
    second = caches.open(url)
    assert await second.get_many(["a"]) == [b"1"]
    await second.close()


async def test_a_relative_url_is_under_the_working_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    cache = caches.open("sqlite://folder/cache.db")
    await cache.close()
    assert (tmp_path / "folder" / "cache.db").is_file()


async def test_the_file_stays_within_its_size(tmp_path: Path) -> None:
    path = tmp_path / "cache.db"
    cache = SqliteCache(path, 2_000_000)
    for n in range(200):
        await cache.set_many({f"{n} {i}": b"x" * 5_000 for i in range(10)})
    await cache.close()
    assert path.stat().st_size < 2_500_000


async def test_a_damaged_file_is_put_aside_at_the_start(tmp_path: Path) -> None:
    path = tmp_path / "cache.db"
    path.write_bytes(b"no database at all " * 1000)
    cache = SqliteCache(path, 10_000_000)
    await cache.set_many({"a": b"1"})
    assert await cache.get_many(["a"]) == [b"1"]
    await cache.close()
    (aside,) = put_aside(tmp_path)
    assert aside.read_bytes() == b"no database at all " * 1000


async def test_a_file_damaged_while_open_is_a_miss_and_then_begun_anew(tmp_path: Path) -> None:
    path = tmp_path / "cache.db"
    cache = SqliteCache(path, 50_000_000)
    await cache.set_many({f"key {n}": b"x" * 2_000 for n in range(2_000)})
    await cache.close()
    cache = SqliteCache(path, 50_000_000)
    with path.open("r+b") as stream:
        stream.seek(4096)
        stream.write(b"\xaa" * (path.stat().st_size - 4096))
    assert await cache.get_many(["key 1"]) == [None]
    await cache.set_many({"key 1": b"again"})
    assert await asyncio.gather(*(cache.get_many(["key 1", "key 2"]) for _ in range(8))) == [[b"again", None]] * 8
    await cache.close()
    assert len(put_aside(tmp_path)) == 1


async def test_a_cache_of_another_version_is_put_aside(tmp_path: Path) -> None:
    path = tmp_path / "cache.db"
    db = sqlite3.connect(path)
    db.execute("PRAGMA user_version = 99")
    db.close()
    cache = SqliteCache(path, 10_000_000)
    await cache.set_many({"a": b"1"})
    assert await cache.get_many(["a"]) == [b"1"]
    await cache.close()


async def test_a_locked_file_drops_the_write_and_still_reads(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("ragline.cache.sqlite.BUSY_MS", 1)
    path = tmp_path / "cache.db"
    cache = SqliteCache(path, 10_000_000)
    await cache.set_many({"a": b"1"})
    other = sqlite3.connect(path, isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    await cache.set_many({"a": b"2"})
    assert await cache.get_many(["a"]) == [b"1"]
    other.execute("ROLLBACK")
    other.close()
    await cache.set_many({"a": b"3"})
    assert await cache.get_many(["a"]) == [b"3"]
    await cache.close()


async def test_two_share_one_file(tmp_path: Path) -> None:
    first, second = (SqliteCache(tmp_path / "cache.db", 10_000_000) for _ in range(2))
    writes = [
        cache.set_many({f"{name} {n}": b"x"}) for n in range(50) for name, cache in (("1", first), ("2", second))
    ]
    await asyncio.gather(*writes)
    keys = [f"{name} {n}" for n in range(50) for name in ("1", "2")]
    assert await first.get_many(keys) == await second.get_many(keys) == [b"x"] * 100
    await first.close()
    await second.close()


def test_a_file_that_cannot_be_opened_is_one_sentence(tmp_path: Path) -> None:
    (tmp_path / "cache.db").mkdir()
    with pytest.raises(SettingsError, match="cannot be opened"):
        SqliteCache(tmp_path / "cache.db", 1_000_000)
