"""The embedded store against a model, and after everything that can happen to its files."""

from __future__ import annotations

import asyncio
import shutil
import sqlite3
import threading
from collections.abc import Callable
from pathlib import Path

import pytest
from structlog.testing import capture_logs

from ragline.errors import NotFound, Overloaded, Unavailable
from ragline.settings import SettingsError
from services.retriever import filters
from services.retriever.stores import Key
from services.retriever.stores.embedded import EmbeddedStore
from tests.retriever.harm import flip
from tests.retriever.parts import KEY, check, content, nearest, open_store, vector, words_of


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A store with a few documents, closed."""
    store = open_store(tmp_path / "store")
    for name in "abc":
        asyncio.run(store.upsert(KEY, content(name, [f"passage one of {name}", f"passage two of {name}"])))
    asyncio.run(store.delete(KEY, "b"))
    store.close()
    return tmp_path / "store"


MODEL = {name: [f"passage one of {name}", f"passage two of {name}"] for name in "ac"}


def reopened(folder: Path) -> tuple[EmbeddedStore, list[str]]:
    with capture_logs() as events:
        store = open_store(folder)
    return store, [event["event"] for event in events if event["log_level"] == "warning"]


def test_an_index_in_order_is_not_rebuilt(folder: Path) -> None:
    store, warnings = reopened(folder)
    check(store, MODEL)
    store.close()
    assert warnings == []


def remove(sparse: Path) -> None:
    shutil.rmtree(sparse)


def flip_postings(sparse: Path) -> None:
    flip(next(sparse.glob("1/*.idx")))


def forget_meta(sparse: Path) -> None:
    (sparse / "1" / "meta.json").unlink()


def older_version(sparse: Path) -> None:
    with sqlite3.connect(sparse.parent / "record.db") as db:
        db.execute("UPDATE checkpoints SET version = 'tantivy-0'")
    db.close()


def wrong_rows(sparse: Path) -> None:
    store = open_store(sparse.parent)
    index = store.by_id[1].texts.index
    assert index is not None
    index.apply([1], [])
    store.close()


@pytest.mark.parametrize("harm", [remove, flip_postings, forget_meta, older_version, wrong_rows])
def test_a_sparse_index_in_doubt_is_rebuilt_and_said(folder: Path, harm: Callable[[Path], None]) -> None:
    harm(folder / "sparse")
    store, warnings = reopened(folder)
    check(store, MODEL)
    store.close()
    assert warnings == ["sparse index rebuilt from the record"]
    store, warnings = reopened(folder)
    check(store, MODEL)
    store.close()
    assert warnings == []


def test_an_index_behind_the_record_is_caught_up_not_rebuilt(folder: Path) -> None:
    saved = folder.parent / "saved"
    shutil.copytree(folder / "sparse", saved)
    store = open_store(folder)
    checkpoint = store.record.checkpoint(1)
    # As if the machine had died before tantivy had any of it: the record is ahead, dead rows included.
    store.record.purge = lambda *_: 0  # type: ignore[method-assign]
    asyncio.run(store.upsert(KEY, content("d", ["passage of d"])))
    asyncio.run(store.upsert(KEY, content("a", ["passage new of a"])))
    model = MODEL | {"a": ["passage new of a"], "d": ["passage of d"]}
    store.close()
    shutil.rmtree(folder / "sparse")
    shutil.copytree(saved, folder / "sparse")
    with sqlite3.connect(folder / "record.db") as db:
        db.execute("UPDATE checkpoints SET version = ?, generation = ?", checkpoint)
    db.close()
    store, warnings = reopened(folder)
    check(store, model)
    assert store.record.checkpoint(1)[1] == store.view(KEY).generation
    store.close()
    assert warnings == []


def test_dead_rows_are_purged_once_no_reader_needs_them(folder: Path) -> None:
    def rows() -> int:
        db = sqlite3.connect(folder / "record.db")
        count: int = db.execute("SELECT count(*) FROM passages").fetchone()[0]
        db.close()
        return count

    store = open_store(folder)
    assert rows() == 4
    view = store.view(KEY)
    asyncio.run(store.delete(KEY, "a"))
    assert rows() == 4
    assert [p.document_id for p in view.fetch(view.sparse("passage", 9, None).rows.tolist()).values()].count(
        "a"
    ) == 2
    del view
    asyncio.run(store.upsert(KEY, content("d", ["passage of d"])))
    store.close()
    assert rows() == 3


def test_many_dead_are_purged_some_at_a_time(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("services.retriever.stores.embedded.PURGED_AT_ONCE", 3)
    store = open_store(folder)
    purged: list[int] = []
    purge = store.record.purge

    def counted(collection: int, generation: int, most: int = -1) -> int:
        purged.append(purge(collection, generation, most))
        return purged[-1]

    store.record.purge = counted  # type: ignore[method-assign]

    async def write() -> None:
        await asyncio.gather(*(store.upsert(KEY, content(f"m{n}", ["passage"]), container="f") for n in range(10)))
        await store.delete(KEY, "f")

    asyncio.run(write())
    store.writer.close()
    assert sum(purged) == 10
    assert max(purged) == 3
    check(store, MODEL)
    store.close()


def test_a_second_process_on_the_same_files_is_refused(folder: Path) -> None:
    store = open_store(folder)
    with pytest.raises(SettingsError, match=r"Another retriever \(process \d+ on .*\) has .*: stop it"):
        open_store(folder)
    store.close()
    open_store(folder).close()


def test_a_record_that_is_none_or_too_new_is_refused_with_a_sentence(tmp_path: Path) -> None:
    (tmp_path / "record.db").write_bytes(b"no database at all, but long enough to be looked at" * 100)
    with pytest.raises(SettingsError, match="cannot be opened"):
        open_store(tmp_path)
    (tmp_path / "record.db").unlink()
    open_store(tmp_path).close()
    db = sqlite3.connect(tmp_path / "record.db")
    db.execute("PRAGMA user_version = 99")
    db.close()
    with pytest.raises(SettingsError, match="layout 99"):
        open_store(tmp_path)


class Held:
    """Holds the writer between two groups, so that a test decides what queues up."""

    def __init__(self, store: EmbeddedStore) -> None:
        self.entered, self.go_on = threading.Event(), threading.Event()
        self.tidy, store.writer.tidy = store.writer.tidy, self.wait

    def wait(self, idle: bool) -> bool:
        self.entered.set()
        self.go_on.wait(30)
        return self.tidy(idle)


async def test_what_queues_is_one_group_and_the_queue_is_bounded(tmp_path: Path) -> None:
    store = open_store(tmp_path, max_queued_writes=3)
    held = Held(store)
    first = asyncio.create_task(store.upsert(KEY, content("first", ["passage"])))
    await asyncio.to_thread(held.entered.wait, 30)
    queued = [asyncio.create_task(store.upsert(KEY, content(f"d{n}", ["passage"]))) for n in range(3)]
    await asyncio.sleep(0)
    with pytest.raises(Overloaded, match="RETRIEVER_MAX_QUEUED_WRITES"):
        await store.upsert(KEY, content("late", ["passage"]))
    cancelled = queued.pop()
    cancelled.cancel()
    await asyncio.sleep(0)
    held.go_on.set()
    assert (await first).generation == 1
    assert {(await write).generation for write in queued} == {2}
    check_names(store, {"first", "d0", "d1"})
    store.close()


def check_names(store: EmbeddedStore, names: set[str]) -> None:
    assert {each.id for each in store.documents(KEY, 100, "")} == names


async def test_a_disk_that_refuses_fails_the_write_and_nothing_else(tmp_path: Path) -> None:
    store = open_store(tmp_path)
    await store.upsert(KEY, content("a", ["passage a"]))
    pages = store.record.db.execute("PRAGMA page_count").fetchone()[0]
    store.record.db.execute(f"PRAGMA max_page_count = {pages + 2}")
    small, big = await asyncio.gather(
        store.upsert(KEY, content("small", ["passage small"])),
        store.upsert(KEY, content("big", ["passage " + "long " * 50_000])),
        return_exceptions=True,
    )
    assert isinstance(big, Unavailable)
    assert not isinstance(small, BaseException)
    store.record.db.execute("PRAGMA max_page_count = 1000000")
    await store.upsert(KEY, content("b", ["passage b"]))
    check(store, {"a": ["passage a"], "small": ["passage small"], "b": ["passage b"]})
    store.check()
    store.close()


async def test_a_lost_index_is_built_again_by_the_next_write(tmp_path: Path) -> None:
    store = open_store(tmp_path)
    await store.upsert(KEY, content("a", ["passage a"]))
    store.by_id[1].texts.index = Broken()  # type: ignore[assignment]
    with capture_logs() as events:
        await store.upsert(KEY, content("b", ["passage b"]))
    assert "sparse index rebuilt from the record" in [event["event"] for event in events]
    check(store, {"a": ["passage a"], "b": ["passage b"]})
    store.close()


class Broken:
    """An index whose disk is gone."""

    def apply(self, *_: object) -> None:
        raise OSError("no such device")

    def close(self) -> None:
        raise OSError("no such device")


async def test_a_failed_writer_fails_its_callers_and_says_so(tmp_path: Path) -> None:
    store = open_store(tmp_path)

    def fail(*_: object) -> None:
        raise ZeroDivisionError("unforeseen")

    store.writer.follow = fail
    with capture_logs(), pytest.raises(Unavailable, match="unforeseen"):
        await store.upsert(KEY, content("a", ["passage a"]))
    with pytest.raises(Unavailable, match="takes no more writes"):
        await store.upsert(KEY, content("b", ["passage b"]))
    with pytest.raises(Unavailable, match="restart"):
        store.check()
    store.close()
    store = open_store(tmp_path)  # it was durable, so the next start has it
    check(store, {"a": ["passage a"]})
    store.close()


async def test_collections_are_bounded(tmp_path: Path) -> None:
    store = open_store(tmp_path, max_collections=2)
    for name in ("one", "two"):
        await store.upsert(Key("default", name), content("a", ["passage"]))
    with pytest.raises(Overloaded, match="RETRIEVER_MAX_COLLECTIONS"):
        await store.upsert(Key("default", "three"), content("a", ["passage"]))
    with pytest.raises(NotFound):
        store.view(Key("default", "three"))
    store.close()


async def test_many_updates_are_compacted(tmp_path: Path) -> None:
    store = open_store(tmp_path, segment_rows=256)
    for version in range(8):
        await store.upsert(KEY, content("a", [f"passage {n} version{version}" for n in range(400)]))
    view = store.view(KEY)
    assert (view.passages, len(view.rows)) != (400, 3200)
    assert len(view.rows) < 400 + 1024 + 400
    assert nearest(store, "passage 7 version7")[0][0] == "passage 7 version7"
    assert words_of(store, "version7", 1)[0].endswith("version7")
    store.close()


async def test_searches_during_writes_never_mix_versions(tmp_path: Path) -> None:
    store = open_store(tmp_path)
    versions, documents = 8, ["a", "b", "c"]
    for name in documents:
        await store.upsert(KEY, content(name, texts(name, 0), metadata='{"all":1}'))
    done = threading.Event()
    seen: list[str] = []

    def search() -> None:
        last = 0
        while not done.is_set():
            view = store.view(KEY)
            assert view.generation >= last
            last = view.generation
            allowed = view.allowed(filters.checked({"all": 1}))
            for ranking in (view.sparse("passage", 99, allowed), view.dense(vector("q")[None], 99, allowed)[0]):
                found = view.fetch(ranking.rows.tolist())
                assert len(found) == len(ranking), "a row of the view was gone"
                by_document: dict[str, list[str]] = {}
                for passage in found.values():
                    by_document.setdefault(passage.document_id, []).append(passage.text)
                for name in documents:
                    version = int(by_document[name][0].rpartition("version")[2])
                    assert sorted(by_document[name]) == sorted(texts(name, version))
            seen.append("x")

    searches = [asyncio.create_task(asyncio.to_thread(search)) for _ in range(3)]
    for version in range(1, versions):
        await asyncio.gather(
            *(store.upsert(KEY, content(n, texts(n, version), metadata='{"all":1}')) for n in documents)
        )
    done.set()
    await asyncio.gather(*searches)
    assert len(seen) >= 3
    store.close()


def texts(name: str, version: int) -> list[str]:
    """More passages in every other version."""
    return [f"passage {n} of {name} version{version}" for n in range(3 + version % 2 * 4)]
