"""Reads a folder in BEIR layout: corpus.jsonl, queries.jsonl, qrels/<split>.tsv."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ragline.evaluation import EvaluationError


@dataclass(frozen=True)
class Dataset:
    """A retrieval set. ``judgements``: query id → document id → grade; only judged queries are in ``queries``."""

    name: str
    corpus: dict[str, dict[str, str]]
    queries: dict[str, str]
    gold: dict[str, list[str]]
    judgements: dict[str, dict[str, int]]

    @property
    def unknown_documents(self) -> int:
        """Judgements of documents that are not in the corpus: found by nobody, and counted so."""
        return sum(document not in self.corpus for grades in self.judgements.values() for document in grades)

    @property
    def unknown_queries(self) -> int:
        """Judged queries without a text."""
        return len(self.judgements.keys() - self.queries.keys())

    @property
    def answerable(self) -> list[str]:
        """The queries that something is relevant to, sorted: for any other no order is better than another."""
        return sorted(query for query in self.queries if any(g > 0 for g in self.judgements[query].values()))


def read(folder: Path, split: str = "test") -> Dataset:
    """The set in ``folder``; ``gold`` holds the gold answers of queries that have them.

    Raises EvaluationError that names the file and the line that are no good.
    """
    corpus = {
        key: {"title": string(row, "title", place), "text": string(row, "text", place)}
        for key, row, place in rows(folder / "corpus.jsonl")
    }
    judgements = read_judgements(judged(folder, split))
    queries: dict[str, str] = {}
    gold: dict[str, list[str]] = {}
    for key, row, place in rows(folder / "queries.jsonl"):
        text = string(row, "text", place)
        if key in judgements and text.strip():
            queries[key], gold[key] = text, gold_answers(row)
    return Dataset(folder.resolve().name, corpus, queries, gold, judgements)


def judged(folder: Path, split: str) -> Path:
    """The file of judgements; raises EvaluationError that says which splits there are."""
    path = folder / "qrels" / f"{split}.tsv"
    if path.is_file():
        return path
    others = ", ".join(sorted(other.stem for other in path.parent.glob("*.tsv")))
    raise EvaluationError(f"{path} is not there; " + (f"there is {others}." if others else "judgements go there."))


def read_judgements(path: Path) -> dict[str, dict[str, int]]:
    """Query id → document id → grade, of lines ``query<TAB>document<TAB>grade``; a heading is left out."""
    judgements: dict[str, dict[str, int]] = {}
    for number, line in texts(path):
        cells = line.split("\t")
        if number == 1 and not integral(cells[-1]):
            continue
        if len(cells) != 3:
            raise EvaluationError(f"{path}:{number}: {len(cells)} columns instead of query, document and grade.")
        query, document, grade = (cell.strip() for cell in cells)
        if not integral(grade):
            raise EvaluationError(f"{path}:{number}: the grade is {grade!r}, which is no whole number.")
        judgements.setdefault(query, {})[document] = int(float(grade))
    if not judgements:
        raise EvaluationError(f"{path}: there is no judgement in it.")
    return judgements


def integral(cell: str) -> bool:
    """Whether it is a whole number; some sets write 1.0."""
    try:
        return float(cell).is_integer()
    except ValueError:
        return False


def gold_answers(row: dict[str, Any]) -> list[str]:
    """The gold answers in a query's metadata, if it has any."""
    answers = (row.get("metadata") or {}).get("answers") or []
    return [answers] if isinstance(answers, str) else list(answers)


def rows(path: Path) -> Iterator[tuple[str, dict[str, Any], str]]:
    """Each object of a JSONL file with its id and where it stands; ids may be numbers and are given once."""
    seen: dict[str, int] = {}
    for number, line in texts(path):
        place = f"{path}:{number}"
        try:
            row = json.loads(line)
        except json.JSONDecodeError as error:
            raise EvaluationError(f"{place}: this is not JSON ({error.msg} at column {error.colno}).") from None
        key = row.get("_id") if isinstance(row, dict) else None
        if isinstance(key, bool) or not isinstance(key, str | int) or key == "":
            raise EvaluationError(f'{place}: an object with an "_id" is expected here.')
        if (first := seen.setdefault(str(key), number)) != number:
            raise EvaluationError(f"{place}: the id {key!r} is that of line {first}, too.")
        yield str(key), row, place
    if not seen:
        raise EvaluationError(f"{path}: there is nothing in it.")


def string(row: dict[str, Any], field: str, place: str) -> str:
    """A field that is text; a title may be missing."""
    value = row.get(field)
    if value is None and field == "title":
        return ""
    if not isinstance(value, str):
        raise EvaluationError(f'{place}: "{field}" is no text.')
    return value


def texts(path: Path) -> Iterator[tuple[int, str]]:
    """The lines that are not empty, with their numbers."""
    try:
        with path.open(encoding="utf-8-sig") as file:
            for number, line in enumerate(file, 1):
                if line.strip():
                    yield number, line.rstrip("\r\n")
    except OSError as error:
        raise EvaluationError(f"{path} cannot be read: {error.strerror or error}.") from None
    except UnicodeDecodeError as error:
        raise EvaluationError(f"{path} is not UTF-8: {error.reason}.") from None
