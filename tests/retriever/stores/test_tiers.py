"""Tiers of vectors in the embedded store: built beside searches and writes, kept in files that may be harmed."""

from __future__ import annotations

import asyncio
import shutil
import threading
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from structlog.testing import capture_logs

from ragline.metrics import REGISTRY
from services.retriever import filters
from services.retriever.dense import Layered
from services.retriever.stores import Rows, _builder, _files
from services.retriever.stores._snapshot import Snapshot
from services.retriever.stores.embedded import EmbeddedStore
from tests.retriever.harm import flip, truncate
from tests.retriever.parts import KEY, check, content, open_store, open_tiered, tiers, vector

MODEL = {name: [f"passage {n} of {name}" for n in range(12)] for name in "abcd"}
OTHERS = {name: [f"passage {n} of {name}" for n in range(3)] for name in "ef"}


def fill(store: EmbeddedStore, model: dict[str, list[str]]) -> None:
    for name, texts in model.items():
        asyncio.run(store.upsert(KEY, content(name, texts)))


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A store whose vectors were built on and saved, and then changed a little; closed."""
    store = open_tiered(tmp_path / "store")
    fill(store, MODEL | OTHERS)
    assert store.builder.wait(60)
    asyncio.run(store.delete(KEY, "f"))
    store.close()
    return tmp_path / "store"


LEFT = MODEL | {"e": OTHERS["e"]}


def reopened(folder: Path) -> tuple[EmbeddedStore, list[str]]:
    with capture_logs() as events:
        store = open_tiered(folder)
    return store, [event["event"] for event in events if event["log_level"] == "warning"]


def names(store: EmbeddedStore) -> set[str]:
    index = store.by_id[1].current.index
    assert isinstance(index, Layered)
    return {part.name for _, part in index.parts()}


def on_disk(folder: Path) -> set[str]:
    return {file.name for file in (folder / "dense" / "1").iterdir()}


def test_a_store_opens_with_what_was_built_before(folder: Path) -> None:
    files = on_disk(folder)
    store, warnings = reopened(folder)
    assert f"{next(iter(names(store)))}.faiss" in files
    assert store.by_id[1].current.state().tier == "hnsw"
    check(store, LEFT)
    store.close()
    assert warnings == []


def remove(file: Path) -> None:
    file.unlink()


@pytest.mark.parametrize("harm", [flip, truncate, remove])
@pytest.mark.parametrize("pattern", ["*.faiss", "state-*", "manifest"])
def test_a_harmed_file_is_not_used_and_said(folder: Path, pattern: str, harm: Callable[[Path], None]) -> None:
    for file in list((folder / "dense" / "1").glob(pattern)):
        harm(file)
    store, warnings = reopened(folder)
    check(store, LEFT)
    assert store.builder.wait(60)
    check(store, LEFT)
    store.close()
    assert (warnings == []) == (pattern == "manifest" and harm is remove)
    assert all("dense index rebuilt from the record" in warning for warning in warnings)
    store, warnings = reopened(folder)
    check(store, LEFT)
    store.close()
    assert warnings == []


def test_one_harmed_part_costs_the_others_nothing(tmp_path: Path) -> None:
    folder = tmp_path / "store"
    store = open_store(folder, 64, tiers(exact_rows=4, hnsw_rows=1000, settle_s=3600))
    fill(store, MODEL)
    store.close()
    parts = sorted((folder / "dense" / "1").glob("*.faiss"))
    flip(parts[0])
    with capture_logs() as events:
        store = open_store(folder, 64, tiers(exact_rows=4, hnsw_rows=1000, settle_s=3600))
    assert [e["part"] for e in events if e["log_level"] == "warning"] == [parts[0].stem]
    assert names(store) >= {part.stem for part in parts[1:]}
    check(store, MODEL)
    store.close()


def test_files_of_an_older_or_a_newer_record_are_judged_by_it(folder: Path) -> None:
    old = folder.parent / "old"
    shutil.copytree(folder, old)
    store = open_tiered(folder)
    asyncio.run(store.delete(KEY, "a"))
    asyncio.run(store.upsert(KEY, content("b", ["passage new of b"])))
    store.close()
    model = LEFT | {"b": ["passage new of b"]}
    del model["a"]
    newer = folder / "dense"
    shutil.move(newer, folder.parent / "newer")
    shutil.copytree(old / "dense", newer)  # as if they had not been saved since
    store, warnings = reopened(folder)
    check(store, model)
    store.close()
    assert warnings == []
    shutil.rmtree(old / "dense")
    shutil.copytree(folder.parent / "newer", old / "dense")  # as if the record alone came out of a backup
    store, warnings = reopened(old)
    check(store, LEFT)
    store.close()
    assert warnings == ["dense index rebuilt from the record"]


def test_a_death_between_any_two_steps_of_saving_is_harmless(
    tmp_path: Path, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    moments: list[Path] = []  # the files as a process leaves them that dies right before each step

    def noted(step: Callable[..., object]) -> Callable[..., object]:
        def instead(*arguments: object) -> object:
            moments.append(tmp_path / f"moment{len(moments)}")
            shutil.copytree(folder / "dense", moments[-1])
            return step(*arguments)

        return instead

    store = open_store(folder, 64, tiers(settle_s=3600))
    asyncio.run(store.upsert(KEY, content("g", [f"passage {n} of g" for n in range(5)])))
    store.builder.close()
    held = store.by_id[1]
    with monkeypatch.context() as patch:
        patch.setattr(_files, "sync", noted(_files.sync))
        patch.setattr(_files, "checksum", noted(_files.checksum))
        patch.setattr(Path, "replace", noted(Path.replace))
        patch.setattr(Path, "unlink", noted(Path.unlink))
        held.files.save(held.current)
    store.close()
    assert len(moments) > 8
    for moment in moments:
        shutil.rmtree(folder / "dense")
        shutil.copytree(moment, folder / "dense")
        store, warnings = reopened(folder)
        check(store, LEFT | {"g": [f"passage {n} of g" for n in range(5)]})
        assert store.builder.wait(60)
        store.close()
        assert warnings == []
        assert not list((folder / "dense" / "1").glob("*.tmp"))


def test_what_is_not_needed_any_more_leaves_the_disk(folder: Path) -> None:
    store = open_tiered(folder)
    for name in LEFT:
        asyncio.run(store.delete(KEY, name))
    assert store.builder.wait(60)
    fill(store, {"z": ["passage z"]})
    assert store.builder.wait(60)
    check(store, {"z": ["passage z"]})
    store.close()
    left = on_disk(folder)
    store, warnings = reopened(folder)
    check(store, {"z": ["passage z"]})
    assert {f"{name}.faiss" for name in names(store)} == {name for name in left if name.endswith("faiss")}
    store.close()
    assert warnings == []


async def test_searches_and_writes_go_on_while_tiers_change(tmp_path: Path) -> None:
    store = open_tiered(tmp_path / "store")
    await store.upsert(KEY, content("kept", MODEL["a"], metadata='{"kept":1}'))
    done, seen = threading.Event(), set()

    def search() -> None:
        while not done.is_set():
            view = store.view(KEY)
            seen.add(view.state().tier)
            allowed = view.allowed(filters.checked({"kept": 1}))
            for text in MODEL["a"][:3]:
                for only in (None, allowed):
                    found = view.dense(vector(text)[None], 1, only)[0]
                    (passage,) = view.fetch(found.rows.tolist()).values()
                    assert passage.text == text
            everything = view.dense(vector("q")[None], 10_000, None)[0]
            assert len(everything) == view.passages == len(set(everything.rows.tolist()))

    searches = [asyncio.create_task(asyncio.to_thread(search)) for _ in range(3)]
    model = {"kept": MODEL["a"]}
    dice = np.random.default_rng(0)
    for number in range(60):
        name = f"d{number % 9}"
        if name in model and dice.random() < 0.3:
            await store.delete(KEY, name)
            del model[name]
        else:
            model[name] = [f"passage {n} of version{number}" for n in range(int(dice.integers(0, 12)))]
            await store.upsert(KEY, content(name, model[name]))
    assert await asyncio.to_thread(store.builder.wait, 60)
    done.set()
    await asyncio.gather(*searches)
    assert "hnsw" in seen
    check(store, model)
    store.close()
    store = open_tiered(tmp_path / "store")
    check(store, model)
    store.close()


def test_what_was_built_too_late_is_thrown_away(tmp_path: Path) -> None:
    store = open_tiered(tmp_path / "store")
    backend = store.builder.backend
    assert backend is not None
    store.builder.close()
    fill(store, MODEL)
    held, seen = store.by_id[1], store.by_id[1].current
    rows = seen.rows[:20]
    part, kept = backend.build("hnsw", 16, rows, lambda some: held.streams.vectors(some, 16), lambda: False)

    def placed(some: Rows) -> bool:
        ends = (int(rows[0]), int(rows[-1]))
        done: bool = store.writer.submit(lambda _: (held.replace(seen, ends, part, some), None), 0).result()
        return done

    assert not placed(kept[1:]), "one that lives is missing"
    for name in MODEL:
        asyncio.run(store.delete(KEY, name))
    assert placed(kept)
    assert len(held.current.rows) == len(seen.rows) - len(rows), "nothing of it lives"
    assert not placed(kept), "nothing of it is left"
    asyncio.run(store.upsert(KEY, content("x", ["passage x"], fingerprint="other", dimensions=8)))
    assert not placed(kept), "it is another embedder's"
    view = store.view(KEY)
    assert len(view.dense(vector("passage x", 8)[None], 5, None)[0]) == 1
    store.close()


@pytest.mark.parametrize("exact_rows", [4, 1000])
def test_a_filter_finds_exactly_the_nearest_of_what_it_allows(tmp_path: Path, exact_rows: int) -> None:
    store = open_store(tmp_path / "store", 64, tiers(exact_rows=exact_rows, hnsw_rows=100))
    texts = {name: [f"passage {n} of {name}" for n in range(60)] for name in "abcdefgh"}
    for number, (name, passages) in enumerate(texts.items()):
        asyncio.run(store.upsert(KEY, content(name, passages, metadata=f'{{"part":{number}}}')))
    asyncio.run(store.delete(KEY, "b"))
    assert store.builder.wait(60)
    view = store.view(KEY)
    for parts in ([0], [1], [2, 3], [0, 1, 2, 3, 4, 5]):
        chosen = [text for part in parts if part != 1 for text in texts["abcdefgh"[part]]]
        allowed = view.allowed(filters.checked({"part": parts}))
        for asked in ("one question", "another"):
            scores = {text: float(vector(text) @ vector(asked)) for text in chosen}
            best = sorted(scores, key=lambda text: -scores[text])[:10]
            found = view.dense(vector(asked)[None], 10, allowed)[0]
            passages_by_row = view.fetch(found.rows.tolist())
            assert [passages_by_row[row].text for row in found.rows.tolist()] == best
            np.testing.assert_allclose(found.scores, [scores[text] for text in best], atol=1e-6)
    store.close()


def test_what_cannot_be_built_or_saved_is_said_and_tried_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(_builder, "RETRY_S", 0.05)
    save, failed = _files.Files.save, threading.Event()

    def full(self: _files.Files, snapshot: Snapshot) -> None:
        if not failed.is_set():
            failed.set()
            raise OSError("no space left on device")
        save(self, snapshot)

    monkeypatch.setattr(_files.Files, "save", full)
    with capture_logs() as events:
        store = open_tiered(tmp_path / "store")
        fill(store, MODEL)
        assert failed.wait(60)
        check(store, MODEL)
        assert store.builder.wait(60)
        store.close()
    assert "a dense index was not built on; it is tried again" in [event["event"] for event in events]
    store, warnings = reopened(tmp_path / "store")
    check(store, MODEL)
    assert store.by_id[1].files.saved is not None
    store.close()
    assert warnings == []


def test_recall_and_memory_are_shown(folder: Path) -> None:
    store = open_tiered(folder)
    fill(store, {"h": ["passage h"]})
    assert store.builder.wait(60)
    state = store.by_id[1].current.state()
    store.close()
    assert state.recall is not None
    assert state.bytes > 0
    labels = {"tenant": KEY.tenant, "collection": KEY.collection}
    assert REGISTRY.get_sample_value("ragline_dense_recall", labels) == pytest.approx(state.recall)
    assert REGISTRY.get_sample_value("ragline_dense_bytes", labels) == state.bytes
