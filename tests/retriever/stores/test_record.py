"""The embedded store's file: earlier layouts, numbers over restarts, what is forgotten."""

from __future__ import annotations

import asyncio
import math
import sqlite3
from pathlib import Path

import pytest

from ragline.settings import SettingsError
from services.retriever.stores import Key, Vectorised
from services.retriever.stores._order import BLOCK, PRUNED_AT_ONCE, Numbers
from services.retriever.stores._schema import LAYOUTS
from services.retriever.stores.embedded import EmbeddedStore
from tests.retriever.parts import KEY, check, content, open_store, token_ids, vector

LAYOUT_1 = Path(__file__).with_name("layout1.sql")
HELD = {"a": ["passage one of a", "passage two of a"], "d": ["passage one of d"]}


def first_layout(folder: Path) -> None:
    """Leave a record in ``folder`` as the first release did."""
    db = sqlite3.connect(folder / "record.db")
    db.executescript(LAYOUT_1.read_text())
    rows = db.execute("SELECT p.row, d.collection, p.text FROM passages p JOIN documents d ON d.id = p.document")
    made = [(row, of, vector(text).astype("<f4").tobytes(), token_ids(text)) for row, of, text in rows.fetchall()]
    db.executemany("INSERT INTO vectors VALUES (?, ?, ?, ?)", made)
    db.commit()
    db.close()


def columns(folder: Path) -> dict[str, list[tuple[object, ...]]]:
    db = sqlite3.connect(folder / "record.db")
    names = [name for (name,) in db.execute("SELECT name FROM sqlite_master WHERE type IN ('table', 'index')")]
    found = {name: db.execute(f"PRAGMA table_xinfo('{name}')").fetchall() for name in sorted(names)}
    db.close()
    return found


async def test_a_record_of_the_first_layout_is_taken_over(tmp_path: Path) -> None:
    first_layout(tmp_path)
    store = open_store(tmp_path)
    check(store, HELD)
    assert store.view(Key("other", "second")).passages == 1
    assert store.view(KEY).generation == 4
    assert store.known_uris(["file:///a", "file:///b"]) == ["file:///a"]
    assert store.document(KEY, "a", brief=True).seq == 0
    await store.upsert(KEY, content("a", HELD["a"], title="T"), seq=await store.reserve(1))
    assert (await store.delete(KEY, "d")).passages == 1
    store.close()
    store = open_store(tmp_path)
    check(store, {"a": HELD["a"]})
    store.close()
    (tmp_path / "new").mkdir()
    open_store(tmp_path / "new").close()
    assert columns(tmp_path) == columns(tmp_path / "new")


async def test_a_record_of_the_second_layout_is_taken_over(tmp_path: Path) -> None:
    first_layout(tmp_path)
    db = sqlite3.connect(tmp_path / "record.db")
    db.executescript(LAYOUTS[1])
    db.executescript("UPDATE documents SET seq = 7; PRAGMA user_version = 2;")
    db.close()
    store = open_store(tmp_path)
    check(store, HELD)
    assert store.document(KEY, "a", brief=True).seq == 7
    assert store.view(KEY).generation == 4
    assert not await store.stage(KEY, "d", 7, Vectorised("next", vector("x", 8)[None], [b""]))
    assert list((await store.switch(KEY, "next")).missing) == ["a"]
    store.close()
    (tmp_path / "new").mkdir()
    open_store(tmp_path / "new").close()
    assert columns(tmp_path) == columns(tmp_path / "new")


def test_a_layout_is_taken_over_whole_or_not_at_all(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first_layout(tmp_path)
    before = columns(tmp_path)
    monkeypatch.setattr(
        "services.retriever.stores._schema.LAYOUTS", (*LAYOUTS[:-1], LAYOUTS[-1] + "SELECT nothing;")
    )
    with pytest.raises(SettingsError, match="cannot be opened"):
        open_store(tmp_path)
    assert columns(tmp_path) == before
    monkeypatch.undo()
    store = open_store(tmp_path)
    check(store, HELD)
    store.close()


async def test_numbers_grow_over_restarts_and_without_the_disk(tmp_path: Path) -> None:
    store = open_store(tmp_path)
    now = store.record.numbers.clock()
    store.record.numbers.clock = lambda: now
    first = await store.reserve(1)
    assert first >= now
    changes = store.record.db.total_changes
    taken = [await store.reserve(1) for _ in range(1000)]
    assert taken == list(range(first + 1, first + 1001))
    assert store.record.db.total_changes == changes
    ahead = first + 10**9
    await store.upsert(KEY, content("a", ["passage"]), seq=ahead)  # of a record that was restored since
    store.writer.healthy = False  # leave the files as a kill would
    store.close()
    store = open_store(tmp_path)
    assert await store.reserve(1) > ahead
    store.close()


async def test_numbers_follow_the_clock_and_never_go_back_with_it(tmp_path: Path) -> None:
    store = open_store(tmp_path)
    numbers = store.record.numbers
    first = await store.reserve(1)
    numbers.clock = lambda: first + 10**7
    assert await store.reserve(5) == first + 10**7
    numbers.clock = lambda: 0
    assert await store.reserve(1) == first + 10**7 + 5
    store.close()


async def test_a_number_counts_only_once_its_block_is_durable(tmp_path: Path) -> None:
    store = open_store(tmp_path)
    numbers = store.record.numbers
    numbers.clock = lambda: 0
    await store.reserve(1)
    await store.reserve(BLOCK - 1)
    firsts = await asyncio.gather(*(store.reserve(2) for _ in range(50)))
    assert len({number for first in firsts for number in (first, first + 1)}) == 100  # side by side, in any order
    assert store.record.stamps.reserved() == numbers.ceiling >= max(firsts) + 1
    assert await store.reserve(1) > max(firsts) + 1
    store.close()


def test_numbers_beyond_the_ceiling_wait_for_the_writer() -> None:
    numbers = Numbers(10, block=100, clock=lambda: 0)
    assert numbers.take(1) is None
    assert numbers.claim(3) == 11
    assert numbers.take(1) is None
    assert numbers.owed() == 113
    numbers.grant(113)
    assert numbers.owed() is None
    assert (numbers.take(100), numbers.take(1)) == (14, None)
    numbers.seen(5)
    numbers.seen(500)
    assert numbers.claim(1) == 501


def stamps(store: EmbeddedStore) -> int:
    count: int = store.reader.db.execute("SELECT count(*) FROM stamps").fetchone()[0]
    return count


async def test_tombstones_are_forgotten_in_time_and_a_files_while_it_is_there(tmp_path: Path) -> None:
    store = open_store(tmp_path, tombstone_ttl_s=3600)
    now = 1_000_000.0
    store.changes.clock = lambda: now
    store.changes.prune_at = math.inf
    many = PRUNED_AT_ONCE + 100
    await store.upsert(KEY, content("m", ["passage one"]), seq=1, container="f")
    await store.settle(KEY, "f", ["m"], seq=1)
    await asyncio.gather(*(store.delete(KEY, f"d{n}", seq=2) for n in range(many)))
    now += 3599
    await forget(store)
    assert stamps(store) == many + 1
    now += 2
    await forget(store)
    assert many - PRUNED_AT_ONCE <= stamps(store) <= many + 1 - PRUNED_AT_ONCE + 1, "some at a time"
    await forget(store)
    assert stamps(store) == 1, "the file's, of which a document is there"
    assert not (await store.upsert(KEY, content("d1", ["passage"]), seq=1)).stale
    await store.delete(KEY, "f", seq=3)
    now += 3601
    store.changes.prune_at = 0.0
    await store.upsert(KEY, content("d2", ["passage"]))  # every group looks, now and then
    assert stamps(store) == 0
    store.close()


async def forget(store: EmbeddedStore) -> None:
    """Look once for what to forget, inside a transaction of the writer, and then not again."""

    def step(_: dict[int, int]) -> tuple[bool, None]:
        store.changes.prune_at = 0.0
        done = store.changes.prune()
        store.changes.prune_at = math.inf
        return done, None

    await store.write(step, 0)


async def test_an_answer_names_no_more_removed_texts_than_it_may(tmp_path: Path) -> None:
    store = open_store(tmp_path, max_removed_mb=1)
    for n in range(3):
        await store.upsert(KEY, content(f"m{n}", [f"passage {n} {'x' * 400_000}"]), seq=1, container="f")
    done = await store.delete(KEY, "f", seq=2)
    assert (done.passages, len(done.removed_texts)) == (3, 2)
    check(store, {})
    store.close()
