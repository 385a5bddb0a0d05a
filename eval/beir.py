"""Reads a folder in BEIR layout: corpus.jsonl, queries.jsonl, qrels/<split>.tsv."""

from __future__ import annotations

import csv
import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any


@dataclass(frozen=True)
class Dataset:
    """A retrieval set. ``judgements``: query id → document id → grade; only judged queries are in ``queries``."""

    name: str
    corpus: dict[str, dict[str, str]]
    queries: dict[str, str]
    gold: dict[str, list[str]]
    judgements: dict[str, dict[str, int]]


def read(folder: Path, split: str = "test") -> Dataset:
    """The set in ``folder``; ``gold`` holds the gold answers of queries that have them."""
    corpus = {
        row["_id"]: {"title": row.get("title", ""), "text": row["text"]} for row in lines(folder / "corpus.jsonl")
    }
    judgements: dict[str, dict[str, int]] = {}
    with (folder / "qrels" / f"{split}.tsv").open() as file:
        for query, document, grade in list(csv.reader(file, delimiter="\t"))[1:]:
            judgements.setdefault(query, {})[document] = int(grade)
    rows = [row for row in lines(folder / "queries.jsonl") if row["_id"] in judgements]
    return Dataset(
        name=folder.name,
        corpus=corpus,
        queries={row["_id"]: row["text"] for row in rows},
        gold={row["_id"]: gold_answers(row) for row in rows},
        judgements=judgements,
    )


def gold_answers(row: dict[str, Any]) -> list[str]:
    """The gold answers in a query's metadata, if it has any."""
    answers = (row.get("metadata") or {}).get("answers") or []
    return [answers] if isinstance(answers, str) else list(answers)


def lines(path: Path) -> Iterator[dict[str, Any]]:
    """The objects of a JSONL file."""
    with path.open() as file:
        for line in file:
            if line.strip():
                yield json.loads(line)
