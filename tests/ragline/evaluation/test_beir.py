import json
from pathlib import Path

import pytest

from ragline.evaluation import EvaluationError, beir
from tests.ragline.evaluation import boats


def test_reads_a_set(tmp_path: Path) -> None:
    (tmp_path / "qrels").mkdir()
    (tmp_path / "corpus.jsonl").write_text('{"_id": "d1", "text": "Seventeen boats."}\n\n')
    queries = [
        {"_id": "q1", "text": "How many boats?", "metadata": {"answers": ["Seventeen"]}},
        {"_id": "q2", "text": "Never judged"},
    ]
    (tmp_path / "queries.jsonl").write_text("\n".join(map(json.dumps, queries)))
    (tmp_path / "qrels" / "test.tsv").write_text("query-id\tcorpus-id\tscore\nq1\td1\t2\n")
    data = beir.read(tmp_path)
    assert data.corpus == {"d1": {"title": "", "text": "Seventeen boats."}}
    assert data.queries == {"q1": "How many boats?"}
    assert data.gold == {"q1": ["Seventeen"]}
    assert data.judgements == {"q1": {"d1": 2}}


def test_says_what_is_odd_about_a_set(tmp_path: Path) -> None:
    data = beir.read(boats.write(tmp_path / "boats"))
    assert (data.name, len(data.corpus), len(data.queries)) == ("boats", 30, 8)
    assert (data.unknown_documents, data.unknown_queries) == (1, 0)
    assert data.answerable == ["q1", "q2", "q3", "q4", "q5", "q6", "q7"]


def test_reads_what_others_write(tmp_path: Path) -> None:
    """Numbers as ids, a mark at the start of a file, no heading, Windows' line ends, grades with a point."""
    folder = boats.write(tmp_path / "boats")
    (folder / "corpus.jsonl").write_text('\ufeff{"_id": 7, "text": "Boats.", "title": null}\r\n', encoding="utf-8")
    (folder / "queries.jsonl").write_text('{"_id": 1, "text": "Boats?"}\n{"_id": 2, "text": " "}')
    (folder / "qrels" / "test.tsv").write_text("1\t7\t2.0\r\n\r\n2\t7\t1\r\n")
    data = beir.read(folder)
    assert data.corpus == {"7": {"title": "", "text": "Boats."}}
    assert data.judgements == {"1": {"7": 2}, "2": {"7": 1}}
    assert (data.queries, data.unknown_queries) == ({"1": "Boats?"}, 1)


@pytest.mark.parametrize(
    ("name", "text", "says"),
    [
        ("corpus.jsonl", None, "corpus.jsonl cannot be read: No such file"),
        ("corpus.jsonl", "", "corpus.jsonl: there is nothing in it"),
        ("corpus.jsonl", '{"_id": "a", "text": "A."}\nnonsense', "corpus.jsonl:2: this is not JSON"),
        ("corpus.jsonl", '["a"]', 'corpus.jsonl:1: an object with an "_id"'),
        ("corpus.jsonl", '{"text": "A."}', 'corpus.jsonl:1: an object with an "_id"'),
        ("corpus.jsonl", '{"_id": "a", "text": 3}', 'corpus.jsonl:1: "text" is no text'),
        (
            "corpus.jsonl",
            '{"_id": "a", "text": "A."}\n\n{"_id": "a", "text": "B."}',
            ":3: the id 'a' is that of line 1",
        ),
        ("queries.jsonl", '{"_id": "q1"}', 'queries.jsonl:1: "text" is no text'),
        ("qrels/test.tsv", None, "test.tsv is not there; judgements go there"),
        ("qrels/test.tsv", "query-id\tcorpus-id\tscore\n", "test.tsv: there is no judgement in it"),
        ("qrels/test.tsv", "q\td\t1\nq 0 d 1\n", "test.tsv:2: 1 columns instead of query, document and grade"),
        ("qrels/test.tsv", "q\td\t1\nq\td\tgood\n", "test.tsv:2: the grade is 'good'"),
    ],
)
def test_names_file_and_line_of_what_is_wrong(tmp_path: Path, name: str, text: str | None, says: str) -> None:
    folder = boats.write(tmp_path / "boats")
    (folder / name).unlink()
    if text is not None:
        (folder / name).write_text(text)
    with pytest.raises(EvaluationError) as caught:
        beir.read(folder)
    assert says in str(caught.value)


def test_names_the_splits_that_there_are(tmp_path: Path) -> None:
    with pytest.raises(EvaluationError, match=r"dev\.tsv is not there; there is test\."):
        beir.read(boats.write(tmp_path / "boats"), "dev")


def test_letters_that_are_none_are_refused(tmp_path: Path) -> None:
    folder = boats.write(tmp_path / "boats")
    (folder / "corpus.jsonl").write_bytes(b'{"_id": "a", "text": "\xff"}')
    with pytest.raises(EvaluationError, match=r"corpus\.jsonl is not UTF-8"):
        beir.read(folder)
