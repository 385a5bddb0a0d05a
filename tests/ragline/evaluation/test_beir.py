import json
from pathlib import Path

from ragline.evaluation import beir


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
