"""Answer quality over REST: is the gold string there, is the citation right, does it abstain when it should."""

from __future__ import annotations

import json
import random
import re
import string
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx

from ragline.evaluation.beir import Dataset

CLIENTS = 2
ARTICLES = re.compile(r"\b(a|an|the)\b")


@dataclass(frozen=True)
class Shares:
    """Shares of the answerable questions, but for ``abstained_rightly``: of the unanswerable ones."""

    answerable: int
    contains_gold: float
    cites_gold: float
    abstained_wrongly: float
    quotes_literal: float
    unanswerable: int
    abstained_rightly: float
    median_ms: float


def measure(client: httpx.Client, data: Dataset, impossible: list[str], count: int) -> Shares:
    """Ask ``count`` answerable questions, drawn with a fixed seed, and the impossible ones."""
    picked = random.Random(0).sample(sorted(query for query, gold in data.gold.items() if gold), count)
    answers = ask(client, data.name, [data.queries[query] for query in picked])
    refusals = ask(client, data.name, impossible)
    rows = list(zip(picked, answers, strict=True))
    return Shares(
        answerable=len(rows),
        contains_gold=mean(holds(answer["answer"], data.gold[query]) for query, answer in rows),
        cites_gold=mean(cites(answer, data.judgements[query]) for query, answer in rows),
        abstained_wrongly=mean(answer["abstained"] for answer in answers),
        quotes_literal=mean(literal(answer, data) for answer in answers),
        unanswerable=len(refusals),
        abstained_rightly=mean(answer["abstained"] for answer in refusals),
        median_ms=sorted(answer["timings_ms"]["total"] for answer in answers)[len(answers) // 2],
    )


def ask(client: httpx.Client, collection: str, questions: list[str]) -> list[dict[str, Any]]:
    """The answers, in order."""

    def one(question: str) -> dict[str, Any]:
        answer = client.post("/generate", json={"query": question, "collection": collection})
        answer.raise_for_status()
        body: dict[str, Any] = answer.json()
        return body

    with ThreadPoolExecutor(CLIENTS) as pool:
        return list(pool.map(one, questions))


def unanswerable(path: Path, count: int, seed: int = 0) -> list[str]:
    """Questions that SQuAD 2.0's annotators wrote so that their passage does not answer them."""
    articles = json.loads(path.read_text())["data"]
    questions = sorted(
        qa["question"].strip()
        for article in articles
        for paragraph in article["paragraphs"]
        for qa in paragraph["qas"]
        if qa["is_impossible"]
    )
    return random.Random(seed).sample(questions, count)


def holds(answer: str, gold: list[str]) -> bool:
    """Whether a gold answer occurs in the answer, both normalised as SQuAD's scorer does."""
    return any(normalised(text) in normalised(answer) for text in gold)


def cites(answer: dict[str, Any], grades: dict[str, int]) -> bool:
    """Whether some citation is of a gold document."""
    return any(grades.get(citation["document_id"], 0) > 0 for citation in answer["citations"])


def literal(answer: dict[str, Any], data: Dataset) -> bool:
    """Whether each quote stands in its document where the citation says."""
    return all(
        data.corpus[citation["document_id"]]["text"][citation["start"] : citation["end"]] == citation["quote"]
        for citation in answer["citations"]
    )


def normalised(text: str) -> str:
    """Lower case, without punctuation and articles, single spaces."""
    bare = "".join(character for character in text.lower() if character not in string.punctuation)
    return " ".join(ARTICLES.sub(" ", bare).split())


def mean(values: Iterator[bool]) -> float:
    """The share that is true."""
    found = list(values)
    return sum(found) / len(found) if found else 0.0
