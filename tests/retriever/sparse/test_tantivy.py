"""What tantivy's own checksums are read for."""

from __future__ import annotations

from pathlib import Path

import pytest

from services.retriever import sparse
from services.retriever.sparse import Damaged, Entry
from services.retriever.sparse.tantivy import Tantivy, TantivyIndex, load
from tests.retriever.harm import flip, put
from tests.retriever.sparse.conftest import TEXTS


@pytest.fixture
def backend() -> Tantivy:
    return load(sparse.Parts(2))


@pytest.fixture
def index(backend: Tantivy, tmp_path: Path) -> TantivyIndex:
    return backend.build(tmp_path / "index", [[Entry(row, "", "", text) for row, text in TEXTS.items()]])


@pytest.mark.parametrize("suffix", ["idx", "pos", "term", "fast", "fieldnorm", "store"])
def test_a_flipped_byte_is_seen(index: TantivyIndex, backend: Tantivy, tmp_path: Path, suffix: str) -> None:
    index.close()
    file = next((tmp_path / "index").glob(f"*.{suffix}"))
    flip(file)
    with pytest.raises(Damaged, match=file.name):
        backend.open(tmp_path / "index")


def test_a_missing_cut_or_foreign_file_is_seen(index: TantivyIndex, backend: Tantivy, tmp_path: Path) -> None:
    folder = tmp_path / "index"
    file = next(folder.glob("*.idx"))
    whole = file.read_bytes()
    for content in (whole[: len(whole) // 2], b"", b"short"):
        put(file, content)
        with pytest.raises(Damaged):
            backend.open(folder)
    file.unlink()
    with pytest.raises(Damaged):
        backend.open(folder)
    (folder / "meta.json").write_text("{}")
    with pytest.raises(Damaged):
        backend.open(folder)


def test_rows_are_read_a_range_at_a_time(backend: Tantivy, tmp_path: Path) -> None:
    rows = [*range(0, 200_000, 3), 10_000_000]
    index = backend.build(tmp_path / "many", [[Entry(row, "", "", "x") for row in rows]])
    assert index.rows().tolist() == rows
    index.apply(rows[::2], [Entry(1, "", "", "x")])
    assert index.rows().tolist() == sorted([*rows[1::2], 1])
    index.apply([], [Entry(1, "", "", "x")])
    assert index.rows().tolist()[:3] == [1, 1, 3]  # twice: the caller sees that
    index.close()
