"""A small judged set, written where a test wants it: 30 documents, 8 queries, one of them about nothing here."""

import json
from pathlib import Path

SUBJECTS = ("boats", "bees", "trains", "bridges", "clocks", "cheeses")
FACTS = (
    "need fresh paint every spring",
    "were first described by a monk",
    "cost more in winter",
    "are looked after at night",
    "must be kept dry",
)
QUERIES = {
    "q1": ("when is fresh paint needed for boats", {"boats/0": 2, "bridges/0": 1}),
    "q2": ("the monk who first described bees", {"bees/1": 1}),
    "q3": ("what trains cost in winter", {"trains/2": 2, "trains/3": 1}),
    "q4": ("who looks after bridges at night", {"bridges/3": 1, "nowhere": 1}),
    "q5": ("keeping clocks dry", {"clocks/4": 1}),
    "q6": ("cheeses kept dry in winter", {"cheeses/4": 2, "cheeses/2": 1}),
    "q7": ("a monk on trains", {"trains/1": 1}),
    "q8": ("who won the cup", {"boats/0": 0}),
}


def write(folder: Path) -> Path:
    """The set in BEIR layout; returns its folder."""
    (folder / "qrels").mkdir(parents=True)
    corpus = [
        {"_id": f"{subject}/{place}", "title": subject, "text": f"Most {subject} {fact}, as everybody knows."}
        for subject in SUBJECTS
        for place, fact in enumerate(FACTS)
    ]
    queries = [{"_id": key, "text": text} for key, (text, _) in QUERIES.items()]
    judgements = [
        f"{key}\t{other}\t{grade}" for key, (_, known) in QUERIES.items() for other, grade in known.items()
    ]
    (folder / "corpus.jsonl").write_text("\n".join(map(json.dumps, corpus)))
    (folder / "queries.jsonl").write_text("\n".join(map(json.dumps, queries)))
    (folder / "qrels" / "test.tsv").write_text("\n".join(["query-id\tcorpus-id\tscore", *judgements]))
    return folder
