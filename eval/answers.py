"""Answer quality over REST: is the gold string there, is the citation right, does it abstain when it should.

``python -m eval.answers FOLDER`` asks with answers checked and again unchecked: then every sentence that the LLM
wrote stays, and no question is refused before it is asked.
"""

from __future__ import annotations

import json
import random
import re
import string
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated, Any

import httpx
import typer

from eval import retrieval
from ragline.evaluation import beir
from ragline.evaluation.beir import Dataset
from tests.suite import Suite

CLIENTS = 2
ARTICLES = re.compile(r"\b(a|an|the)\b")
UNCHECKED = {"GENERATOR_UNSUPPORTED": "flag", "GENERATOR_ABSTAIN_BELOW": "0"}


@dataclass(frozen=True)
class Shares:
    """Shares of the answerable questions, but for ``abstained_rightly``: of the unanswerable ones.

    ``abstention_precision`` is the share of abstentions that were right. ``unsupported`` is the share of what the
    LLM wrote, sentence by sentence and over all questions, that no passage supports, and ``shown_unsupported`` the
    share of such sentences in what was answered.
    """

    answerable: int
    contains_gold: float
    cites_gold: float
    abstained_wrongly: float
    quotes_literal: float
    unanswerable: int
    abstained_rightly: float
    abstention_precision: float
    unsupported: float
    shown_unsupported: float
    median_ms: float


def measure(client: httpx.Client, data: Dataset, impossible: list[str], count: int) -> Shares:
    """Ask ``count`` answerable questions, drawn with a fixed seed, and the impossible ones."""
    picked = random.Random(0).sample(sorted(query for query, gold in data.gold.items() if gold), count)
    answers = ask(client, data.name, [data.queries[query] for query in picked])
    refusals = ask(client, data.name, impossible)
    rows = list(zip(picked, answers, strict=True))
    wrongly, rightly = (sum(answer["abstained"] for answer in some) for some in (answers, refusals))
    fates = [claim["fate"] for answer in (*answers, *refusals) for claim in answer["explain"]["claims"]]
    shown = [fate for fate in fates if fate in ("said", "flagged")]
    return Shares(
        answerable=len(rows),
        contains_gold=mean(holds(answer["answer"], data.gold[query]) for query, answer in rows),
        cites_gold=mean(cites(answer, data.judgements[query]) for query, answer in rows),
        abstained_wrongly=mean(answer["abstained"] for answer in answers),
        quotes_literal=mean(literal(answer, data) for answer in answers),
        unanswerable=len(refusals),
        abstained_rightly=mean(answer["abstained"] for answer in refusals),
        abstention_precision=rightly / max(1, rightly + wrongly),
        unsupported=mean(fate in ("dropped", "flagged") for fate in fates),
        shown_unsupported=mean(fate == "flagged" for fate in shown),
        median_ms=sorted(answer["timings_ms"]["total"] for answer in answers)[len(answers) // 2],
    )


def ask(client: httpx.Client, collection: str, questions: Sequence[str]) -> list[dict[str, Any]]:
    """The answers, in order, with how they came about."""

    def one(question: str) -> dict[str, Any]:
        answer = client.post("/generate", json={"query": question, "collection": collection, "explain": True})
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


def table(columns: Mapping[str, Shares]) -> str:
    """One row a figure, one column a way of answering."""
    rows = {name: [asdict(shares)[name] for shares in columns.values()] for name in Shares.__annotations__}
    lines = [f"| | {' | '.join(columns)} |", "|---" * (len(columns) + 1) + "|"]
    for name, values in rows.items():
        cells = [str(value) if isinstance(value, int) else f"{value:.3f}" for value in values]
        lines.append(f"| {name.replace('_', ' ')} | {' | '.join(cells)} |")
    return "\n".join(lines)


def main(
    folder: Annotated[Path, typer.Argument(help="A set in BEIR layout with gold answers, such as squad11-dev.")],
    unknown: Annotated[Path, typer.Option(help="SQuAD 2.0's JSON, for unanswerable questions.")],
    questions: Annotated[int, typer.Option(help="Answerable questions to ask.")] = 200,
    impossible: Annotated[int, typer.Option(help="Unanswerable questions to ask.")] = 100,
    llm: Annotated[list[str] | None, typer.Option(help="GENERATOR_LLM, one or more.")] = None,
    options: Annotated[str, typer.Option(help="GENERATOR_LLM_OPTIONS, for all but extractive.")] = "{}",
    keep: Annotated[Path | None, typer.Option(help="Where the documents stay for the next run.")] = None,
) -> None:
    """Ask each LLM, checked and unchecked, and print a table."""
    data = beir.read(folder)
    asked = unanswerable(unknown, impossible)
    columns: dict[str, Shares] = {}
    with tempfile.TemporaryDirectory() as place:
        for name in llm or ["extractive"]:
            for label, environment in {"checked": {}, "unchecked": UNCHECKED}.items():
                own = {
                    "GENERATOR_LLM": name,
                    **({"GENERATOR_LLM_OPTIONS": options} if name != "extractive" else {}),
                }
                with Suite(keep or Path(place), {**own, **environment}) as suite, suite.client(600) as client:
                    retrieval.ingest(client, data)
                    columns[f"{name}, {label}"] = measure(client, data, asked, questions)
                print(table(columns), flush=True)


if __name__ == "__main__":
    typer.run(main)
