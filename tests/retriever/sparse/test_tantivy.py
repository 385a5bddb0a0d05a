"""Search by words: the analysis, the queries, and an index that is never trusted further than its checksums."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from services.retriever import sparse
from services.retriever.sparse import Damaged, Entry
from services.retriever.sparse.tantivy import Tantivy, TantivyIndex, load

TEXTS = {
    1: "The lost message is retried after a back-off.",
    2: "Le Café de l'Étoile serves crêpes.",
    3: "全文检索系统支持中文",
    4: "To be, or not to be: that is the question.",
    5: "message queues and message brokers",
    6: "日本語の検索エンジン",
    7: "ABC full width",
}


@pytest.fixture
def backend() -> Tantivy:
    return load(sparse.Parts(1))


@pytest.fixture
def index(backend: Tantivy, tmp_path: Path) -> TantivyIndex:
    return backend.build(tmp_path / "index", [[Entry(row, "", "", text) for row, text in TEXTS.items()]])


def found(index: TantivyIndex, query: str, only: list[int] | None = None) -> list[int]:
    rows, scores = index.searcher().search(query, 10, None if only is None else np.array(only))
    assert len(rows) == len(scores)
    assert all(scores[:-1] >= scores[1:])
    return [int(row) for row in rows]


@pytest.mark.parametrize(
    ("query", "rows"),
    [
        ("retrying messages", {1, 5}),
        ("cafe etoile", {2}),
        ("CRÊPES", {2}),
        ("检索", {3}),
        ("中", {3}),
        ("中文检索", {3}),
        ("検索", {6}),
        ("abc", {7}),
        ("what is the message?", {1, 5}),
        ("to be or not to be", {4}),  # nothing but stop words: they count
        ("", set()),
        ("?!", set()),
        ("😀", set()),
        ("absent", set()),
    ],
)
def test_words_are_found(index: TantivyIndex, query: str, rows: set[int]) -> None:
    assert set(found(index, query)) == rows


@pytest.mark.parametrize(
    "query",
    ["it's \"", "a:b", "(", "AND", "title:x OR", "row:[1 TO *]", "\\", "* ? ~2", '"" "a"', "\x00", "-x +y", "a^2"],
)
def test_nothing_is_read_as_query_language(index: TantivyIndex, query: str) -> None:
    found(index, query)


@given(st.text(max_size=200))
@settings(max_examples=100, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
def test_any_text_is_a_query(index: TantivyIndex, query: str) -> None:
    if not any("\ud800" <= character <= "\udfff" for character in query):
        found(index, query)


def test_a_quoted_phrase_comes_first(backend: Tantivy, tmp_path: Path) -> None:
    texts = ["brown fox quick fox quick brown", "the quick brown fox", "quick quick quick"]
    index = backend.build(tmp_path / "i", [[Entry(i, "", "", text) for i, text in enumerate(texts)]])
    assert found(index, '"quick brown fox"')[0] == 1


def test_title_and_section_are_searched(backend: Tantivy, tmp_path: Path) -> None:
    index = backend.build(tmp_path / "i", [[Entry(1, "Harbour guide", "Ships > Ferries", "It leaves at nine.")]])
    assert found(index, "harbour") == [1]
    assert found(index, "ferry") == [1]


def test_only_allowed_rows(index: TantivyIndex) -> None:
    assert found(index, "message", only=[5, 2]) == [5]
    assert found(index, "message", only=[2]) == []


def test_removed_rows_are_really_gone(index: TantivyIndex, backend: Tantivy, tmp_path: Path) -> None:
    index.apply([1, 2], [Entry(8, "", "", "another message")])
    assert index.rows().tolist() == [3, 4, 5, 6, 7, 8]
    assert set(found(index, "message")) == {5, 8}
    index.close()
    assert backend.open(tmp_path / "index").rows().tolist() == [3, 4, 5, 6, 7, 8]


def test_a_searcher_stays_at_its_commit(index: TantivyIndex) -> None:
    before = index.searcher()
    index.apply([1], [])
    assert set(before.search("message", 10)[0].tolist()) == {1, 5}
    assert set(index.searcher().search("message", 10)[0].tolist()) == {5}


def test_scores_tie_by_row(backend: Tantivy, tmp_path: Path) -> None:
    index = backend.build(tmp_path / "i", [[Entry(row, "", "", "same words") for row in (9, 3, 5, 1)]])
    assert found(index, "words") == [1, 3, 5, 9]


@pytest.mark.parametrize("suffix", ["idx", "pos", "term", "fast", "fieldnorm", "store"])
def test_a_flipped_byte_is_seen(index: TantivyIndex, backend: Tantivy, tmp_path: Path, suffix: str) -> None:
    index.close()
    file = next((tmp_path / "index").glob(f"*.{suffix}"))
    content = bytearray(file.read_bytes())
    content[len(content) // 3] ^= 0x40
    file.write_bytes(content)
    with pytest.raises(Damaged, match=file.name):
        backend.open(tmp_path / "index")


def test_a_missing_cut_or_foreign_file_is_seen(index: TantivyIndex, backend: Tantivy, tmp_path: Path) -> None:
    folder = tmp_path / "index"
    file = next(folder.glob("*.idx"))
    whole = file.read_bytes()
    for content in (whole[: len(whole) // 2], b"", b"short"):
        file.write_bytes(content)
        with pytest.raises(Damaged):
            backend.open(folder)
    file.unlink()
    with pytest.raises(Damaged):
        backend.open(folder)
    (folder / "meta.json").write_text("{}")
    with pytest.raises(Damaged):
        backend.open(folder)
    with pytest.raises(Damaged):
        backend.open(tmp_path / "nowhere")
