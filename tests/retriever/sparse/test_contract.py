"""The contract of every sparse index: what it finds, and that it is never trusted further than its checksums."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from services.retriever.sparse import Damaged, Entry, Sparse, SparseBackend
from tests.retriever.harm import flip, put

ADDED = 40


def found(index: Sparse, query: str, only: list[int] | None = None, depth: int = 10) -> list[int]:
    rows, scores = index.searcher().search(query, depth, None if only is None else np.array(only))
    assert rows.dtype == np.int64
    assert scores.dtype == np.float32
    assert len(rows) == len(scores) == len(set(rows.tolist()))
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
def test_words_are_found(index: Sparse, query: str, rows: set[int]) -> None:
    assert set(found(index, query)) == rows


@pytest.mark.parametrize(
    "query",
    ["it's \"", "a:b", "(", "AND", "title:x OR", "row:[1 TO *]", "\\", "* ? ~2", '"" "a"', "\x00", "-x +y", "a^2"],
)
def test_nothing_is_read_as_query_language(index: Sparse, query: str) -> None:
    found(index, query)


@pytest.mark.parametrize("query", ["word " * 819, "x" * 4096, "检索系统" * 1024, '"a" ' * 1024, "a.b " * 1024])
def test_the_longest_queries_are_answered(index: Sparse, query: str) -> None:
    assert len(query) >= 4095
    found(index, query)


def test_what_is_quoted_is_in_every_result(backend: SparseBackend, tmp_path: Path) -> None:
    texts = [
        "brown fox quick fox quick brown",
        "the quick brown fox",
        "quick quick quick",
        "fox of the quick brown",
    ]
    index = backend.build(tmp_path / "i", [[Entry(i, "", "", text) for i, text in enumerate(texts)]])
    assert found(index, '"quick brown fox"') == [1]
    assert set(found(index, '"quick brown"')) == {0, 1, 3}
    assert set(found(index, '"quick brown" "fox of"')) == {3}
    assert set(found(index, 'fox "the quick"')) == {1, 3}
    assert found(index, "“quick brown fox” dog") == [1]
    assert found(index, '"fox" "the"', depth=1) in ([1], [3])
    assert found(index, '"quick brown', depth=4) != []  # a quotation mark that none follows is none
    assert set(found(index, '5" quick and 7" fox')) == {0, 1, 2, 3}


def test_words_count_where_nothing_holds_what_is_quoted(backend: SparseBackend, tmp_path: Path) -> None:
    index = backend.build(tmp_path / "i", [[Entry(1, "", "", "blue fox"), Entry(2, "", "", "red dog, red fox")]])
    assert set(found(index, '"green fox"')) == {1, 2}
    assert found(index, '"red dog" fox', only=[1]) == []  # it is held, but not here
    assert found(index, '"green fox"', only=[1]) == [1]


def test_phrases_hold_across_scripts(backend: SparseBackend, tmp_path: Path) -> None:
    texts = ["我们使用 Redis 缓存和RabbitMQ队列", "缓存 Redis 使用", "ระบบค้นหาข้อความเต็ม full text"]
    index = backend.build(tmp_path / "i", [[Entry(i, "", "", text) for i, text in enumerate(texts)]])
    assert found(index, '"使用 Redis 缓存"') == [0]
    assert found(index, '"RabbitMQ队列"') == [0]
    assert set(found(index, '"Redis 缓"')) == {0, 1}  # a lone character is looked for wherever it stands
    assert found(index, '"ค้นหา"') == [2]
    assert found(index, '"เต็ม full text"') == [2]
    assert found(index, "队 the") == [0]


def test_title_and_section_are_searched(backend: SparseBackend, tmp_path: Path) -> None:
    index = backend.build(
        tmp_path / "i", [[Entry(1, "Harbour guide 港", "Ships > Ferries", "It leaves at nine.")]]
    )
    assert found(index, "harbour") == [1]
    assert found(index, "ferry") == [1]
    assert found(index, "港") == [1]
    assert found(index, '"harbour guide" "ships ferries" "leaves at nine"') == [1]


def test_a_match_in_the_title_counts_more(backend: SparseBackend, tmp_path: Path) -> None:
    entries = [Entry(1, "calm", "", "storm"), Entry(2, "storm", "", "calm"), Entry(3, "", "", "neither")]
    assert found(backend.build(tmp_path / "i", [entries]), "storm") == [2, 1]


def test_no_phrase_reaches_from_the_title_into_the_text(backend: SparseBackend, tmp_path: Path) -> None:
    entries = [Entry(1, "red", "", "fox"), Entry(2, "", "", "a red fox")]
    assert found(backend.build(tmp_path / "i", [entries]), '"red fox"') == [2]


def test_only_allowed_rows(index: Sparse) -> None:
    assert found(index, "message", only=[5, 2]) == [5]
    assert found(index, "message", only=[2]) == []
    assert found(index, "message", only=[]) == []
    assert found(index, "message", only=[999]) == []


def test_no_more_than_asked_for(index: Sparse) -> None:
    assert found(index, "message", depth=1) == [5]
    assert found(index, "message", depth=0) == []


def test_removed_rows_are_really_gone(index: Sparse, backend: SparseBackend, tmp_path: Path) -> None:
    index.apply([1, 2, 99], [Entry(8, "", "", "another message")])
    assert index.rows().tolist() == [3, 4, 5, 6, 7, 8]
    assert set(found(index, "message")) == {5, 8}
    index.close()
    again = backend.open(tmp_path / "index")
    assert again.rows().tolist() == again.searcher().rows().tolist() == [3, 4, 5, 6, 7, 8]
    again.apply([3, 4, 5, 6, 7, 8], [])
    assert again.rows().tolist() == []
    assert found(again, "message") == []
    again.apply([], [Entry(9, "", "", "message")])
    assert found(again, "message") == [9]
    again.close()


def test_a_row_that_is_taken_over_again_is_there_once(index: Sparse) -> None:
    index.apply([5], [Entry(5, "", "", "message queues")])
    assert index.rows().tolist() == [1, 2, 3, 4, 5, 6, 7]
    assert sorted(found(index, "message")) == [1, 5]
    index.close()


def test_rows_may_lie_far_apart(backend: SparseBackend, tmp_path: Path) -> None:
    rows = [3, 70_000, 70_001, 5_000_000_000, 2**52]
    index = backend.build(tmp_path / "i", [[Entry(row, "", "", "same words") for row in rows]])
    assert index.rows().tolist() == rows
    assert found(index, "words") == rows  # equal scores: by row


def test_an_empty_index_is_one(backend: SparseBackend, tmp_path: Path) -> None:
    index = backend.build(tmp_path / "i", [])
    assert (index.rows().tolist(), found(index, "a")) == ([], [])
    assert backend.open(tmp_path / "i").rows().tolist() == []


def test_a_searcher_stays_at_its_commit(index: Sparse) -> None:
    before = index.searcher()
    for n in range(10):
        index.apply([1, 100 + n - 1], [Entry(100 + n, "", "", f"message {n}")])
    assert set(before.search("message", 10)[0].tolist()) == {1, 5}
    assert before.rows().tolist() == [1, 2, 3, 4, 5, 6, 7]
    assert set(index.searcher().search("message", 10)[0].tolist()) == {5, 109}
    index.close()


def test_scores_tie_by_row(backend: SparseBackend, tmp_path: Path) -> None:
    index = backend.build(tmp_path / "i", [[Entry(row, "", "", "same words") for row in (9, 3, 5, 1)]])
    assert found(index, "words") == [1, 3, 5, 9]


def test_a_flipped_byte_changes_nothing_or_is_seen(index: Sparse, backend: SparseBackend, tmp_path: Path) -> None:
    index.close()
    folder = tmp_path / "index"
    held, seen = index.rows().tolist(), 0
    for file in [file for file in sorted(folder.iterdir()) if file.stat().st_size]:
        whole = file.read_bytes()
        flip(file)
        try:
            assert backend.open(folder).rows().tolist() == held
        except Damaged:
            seen += 1
        put(file, whole)
    assert seen
    assert backend.open(folder).rows().tolist() == held


def test_a_missing_or_foreign_index_is_seen(backend: SparseBackend, tmp_path: Path) -> None:
    with pytest.raises(Damaged):
        backend.open(tmp_path / "nowhere")
    (tmp_path / "strange").mkdir()
    (tmp_path / "strange" / "meta.json").write_text("{}")
    (tmp_path / "strange" / "manifest.json").write_text("{}")
    with pytest.raises(Damaged):
        backend.open(tmp_path / "strange")


def test_a_killed_writer_leaves_what_it_had_acknowledged(backend: SparseBackend, tmp_path: Path) -> None:
    folder = tmp_path / "index"
    backend.build(folder, [[Entry(0, "", "", "passage")]]).close()
    for kill in range(3):
        first = 1 + kill * ADDED
        command = [sys.executable, "-m", __name__, type(backend).__module__.rpartition(".")[2]]
        command += [str(folder), str(first)]
        with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as writer:
            assert writer.stdout is not None
            acknowledged = [int(writer.stdout.readline()) for _ in range(3 + kill)][-1]
            writer.send_signal(signal.SIGKILL)
        index = backend.open(folder)
        last = int(index.rows()[-1])
        assert index.rows().tolist() == [
            0,
            *range(max(1, last), last + 1),
        ]  # each takes the place of the one before
        assert last >= acknowledged
        assert found(index, "passage") == index.rows().tolist()
        index.apply([last], [Entry(first + ADDED - 1, "", "", "passage")])
        index.close()


def write(name: str, folder: str, first: int) -> None:
    """What the killed process does: one row after the other, each in place of the one before."""
    from tests.retriever.sparse.conftest import loaded

    index = loaded(name).open(Path(folder))
    for row in range(first, first + ADDED - 1):
        index.apply([row - 1] if row > 1 else [], [Entry(row, "", "", "passage")])
        os.write(1, f"{row}\n".encode())


if __name__ == "__main__":
    write(sys.argv[1], sys.argv[2], int(sys.argv[3]))
