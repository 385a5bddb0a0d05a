"""What only the index in pure Python does: a manifest of its own, and no place shared with other indexes."""

from __future__ import annotations

import json
import tempfile
import threading
from pathlib import Path

import pytest

from services.retriever import dense, stores
from services.retriever.dense import flat
from services.retriever.sparse import Damaged, Entry, Sparse, SparseBackend
from services.retriever.stores import embedded
from tests.retriever.harm import put, truncate
from tests.retriever.parts import KEY, content, words_of
from tests.retriever.sparse.conftest import TEXTS, loaded


@pytest.fixture
def backend() -> SparseBackend:
    return loaded("whoosh")


@pytest.fixture
def index(backend: SparseBackend, tmp_path: Path) -> Sparse:
    return backend.build(tmp_path / "index", [[Entry(row, "", "", text) for row, text in TEXTS.items()]])


def test_a_damaged_manifest_or_file_is_named(index: Sparse, backend: SparseBackend, tmp_path: Path) -> None:
    folder = tmp_path / "index"
    for file in [*folder.glob("*.seg"), *folder.glob("*.toc"), folder / "manifest.json"]:
        whole = file.read_bytes()
        for harmed in (whole[:-1], b"", whole[:9] + b"?" + whole[10:]):
            put(file, harmed)
            with pytest.raises(Damaged, match=file.name):
                backend.open(folder)
        put(file, whole)
    assert len(backend.open(folder).rows()) == len(TEXTS)


def test_what_a_cut_commit_left_changes_nothing(index: Sparse, backend: SparseBackend, tmp_path: Path) -> None:
    folder = tmp_path / "index"
    for name in ("_MAIN_2.toc", "_MAIN_999.toc", "MAIN_0123.seg"):
        (folder / name).write_bytes(b"half of it")
    (folder / "abc.tmp").mkdir()
    again = backend.open(folder)
    assert len(again.rows()) == len(TEXTS)
    assert (folder / "MAIN_0123.seg").exists()  # it may be a commit under way, looked at from another thread
    again.apply([1], [])
    assert len(again.rows()) == len(TEXTS) - 1
    named = json.loads((folder / "manifest.json").read_text())["files"]
    assert {file.name for file in folder.iterdir()} == {*named, "manifest.json"}


def test_nothing_is_left_behind(
    index: Sparse, tmp_path: Path, tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch
) -> None:
    elsewhere = tmp_path_factory.mktemp("elsewhere")
    monkeypatch.setattr(tempfile, "tempdir", str(elsewhere))
    for n in range(20):
        index.apply([100 + n - 1], [Entry(100 + n, "", "", "message")])
    named = json.loads((tmp_path / "index" / "manifest.json").read_text())["files"]
    assert {file.name for file in (tmp_path / "index").iterdir()} == {*named, "manifest.json"}
    assert list(elsewhere.iterdir()) == []


def test_threads_may_share_a_searcher(index: Sparse) -> None:
    searcher = index.searcher()
    expected = {
        query: searcher.search(query, 10)[0].tolist() for query in ("message", "检索", "cafe", '"not to be"')
    }
    wrong: list[str] = []

    def search() -> None:
        for _ in range(20):
            wrong.extend(q for q, rows in expected.items() if searcher.search(q, 10)[0].tolist() != rows)

    threads = [threading.Thread(target=search) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert wrong == []


async def test_a_store_works_with_it_and_builds_it_again(backend: SparseBackend, tmp_path: Path) -> None:
    parts = stores.Parts(tmp_path / "store", backend, flat.load(dense.Parts(1)), threads=1)
    store = embedded.load(parts)
    await store.upsert(KEY, content("a", ["passage about ships", "passage about trains"]))
    await store.upsert(KEY, content("b", ["passage about cars"]))
    await store.delete(KEY, "a")
    assert words_of(store, "passage") == ["passage about cars"]
    assert list(store.verify(stores.Scope(), mend=False)) == []
    store.close()
    segment = next((tmp_path / "store" / "sparse").rglob("*.seg"))
    truncate(segment)
    store = embedded.load(parts)
    assert words_of(store, "passage") == ["passage about cars"]
    store.close()
