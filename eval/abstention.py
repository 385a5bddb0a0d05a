"""Fits the chance that passages hold an answer, on a training set: never on one that answers are evaluated on.

``python -m eval.abstention FOLDER`` prints the numbers that stand in ``services/generator/checks/abstain.py``: how
far questions whose passage is there differ from those whose passage is not, and from those that were turned, by
rule, into questions which their passage does not answer. ``eval.curve`` tells how well that does elsewhere.
"""

from __future__ import annotations

import math
import random
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated, Any

import httpx
import numpy as np
import typer

from eval import retrieval
from eval.rewriting import NAME, negated, opposed, renamed, renumbered
from ragline.evaluation import beir
from ragline.evaluation.beir import Dataset
from ragline.evaluation.calibrating import chances, fitted
from ragline.evaluation.metrics import Floats
from services.generator.checks.lookalike import Signs
from tests.suite import Suite

SHARE_IN = 0.5
FOLDS = 5
THRESHOLDS = (0.05, 0.1, 0.15, 0.2, 0.25, 0.3, 0.4, 0.5)
FOUND = ("sentence", "gap")
ASKED = ("sentence", *Signs.__annotations__)
# Of the questions that are asked in earnest so many are taken to have their passage, and so many of these to ask
# for what it says; the fit itself sees about as many of each kind.
HAVE, SAY = 0.85, 0.85
# How often a question of a kind counts: rules that find much to turn would outweigh the others.
WEIGHTS = {"in": 4, "out": 2, "name": 6, "number": 6, "opposite": 4, "negation": 1}
RIDGE = 1.0
ANSWERABLE, ABSENT = "in", "out"


@dataclass(frozen=True)
class Asked:
    """A question: ``in`` has its passage, ``out`` has not, the others were turned by the rule named."""

    query: str
    kind: str


def main(
    folder: Annotated[Path, typer.Argument(help="A training set made like SQuAD, in BEIR layout.")],
    questions: Annotated[int, typer.Option(help="Questions to ask, before some are turned.")] = 900,
    scorer: Annotated[str, typer.Option(help="The reranker's scorer.")] = "late_interaction",
    split: Annotated[str, typer.Option(help="The judgements, qrels/SPLIT.tsv.")] = "train",
    keep: Annotated[Path | None, typer.Option(help="Where the documents stay for the next run.")] = None,
) -> None:
    """Put half of the passages in, ask, fit, and report on the folds that were not fitted on."""
    data = beir.read(folder, split)
    draw = random.Random(0)
    inside = {key for key in sorted(data.corpus) if draw.random() < SHARE_IN}
    chosen = draw.sample(sorted(data.queries), questions)
    asked = [one for query in chosen for one in turned(data, query, inside, draw)]
    environment = {"GENERATOR_LLM": "extractive", "RERANKER_SCORER": scorer}
    with (
        tempfile.TemporaryDirectory() as place,
        Suite(keep or Path(place), environment) as suite,
        suite.client(600) as client,
    ):
        retrieval.ingest(client, replace(data, corpus={key: data.corpus[key] for key in sorted(inside)}))
        rows = [explained(client, data.name, one.query) for one in asked]
    kinds = np.array([one.kind for one in asked])
    report(crossed(rows, kinds), kinds)
    for name, weights in (("found", found(rows, kinds)), ("asked", said(rows, kinds))):
        columns = FOUND if name == "found" else ASKED
        print(
            name, ", ".join(f"{key}={value:.2f}" for key, value in zip((*columns, "bias"), weights, strict=True))
        )
    print(f"typical_gap={np.mean([row['gap'] for row in rows]):.3f}")


def turned(data: Dataset, query: str, inside: set[str], draw: random.Random) -> Iterator[Asked]:
    """The question and, where its passage is in, one that this passage does not answer."""
    text = data.queries[query]
    key = next(iter(data.judgements[query]))
    if key not in inside:
        yield Asked(text, ABSENT)
        return
    yield Asked(text, ANSWERABLE)
    names = sorted({match[0] for match in NAME.finditer(data.corpus[key]["text"])})
    made = {
        "name": renamed(text, names, draw),
        "number": renumbered(text, draw),
        "negation": negated(text),
        "opposite": opposed(text, draw),
    }
    if able := [kind for kind, other in made.items() if other]:
        kind = draw.choice(able)
        yield Asked(made[kind], kind)


def explained(client: httpx.Client, collection: str, query: str) -> dict[str, float]:
    """The features of a question, as ``explain`` tells them."""
    answer = client.post("/generate", json={"query": query, "collection": collection, "explain": True})
    answer.raise_for_status()
    told: dict[str, Any] = answer.json()["explain"]["abstention"]
    return {"sentence": told["sentence_score"], "gap": told["gap"], **told["signs"]}


def matrix(rows: Sequence[dict[str, float]], columns: Sequence[str]) -> Floats:
    """The features as (rows, columns)."""
    return np.array([[row[column] for column in columns] for row in rows], dtype=np.float64)


def found(rows: Sequence[dict[str, float]], kinds: np.typing.NDArray[np.str_]) -> Floats:
    """The regression that the passage is there: questions that have it against those that have not."""
    some = (kinds == ANSWERABLE) | (kinds == ABSENT)
    return weighted(matrix(rows, FOUND)[some], kinds[some], HAVE)


def said(rows: Sequence[dict[str, float]], kinds: np.typing.NDArray[np.str_]) -> Floats:
    """The regression that the passage says what is asked: questions that have it, as asked and turned."""
    some = kinds != ABSENT
    return weighted(matrix(rows, ASKED)[some], kinds[some], SAY)


def weighted(features: Floats, kinds: np.typing.NDArray[np.str_], share: float) -> Floats:
    """A fit with each kind's weight, then its bias moved to the share of answerable ones to be expected."""
    times = np.array([WEIGHTS[kind] for kind in kinds])
    held = np.repeat(kinds == ANSWERABLE, times).astype(np.float64)
    middle, spread = features.mean(axis=0), features.std(axis=0) + 1e-9
    weights = fitted(np.repeat((features - middle) / spread, times, axis=0), held, RIDGE)
    weights[:-1] /= spread
    seen = held.mean()
    weights[-1] += math.log(share / (1 - share)) - math.log(seen / (1 - seen)) - weights[:-1] @ middle
    return weights


def crossed(rows: Sequence[dict[str, float]], kinds: np.typing.NDArray[np.str_]) -> Floats:
    """The chance of each question, from fits that have not seen it."""
    chance = np.zeros(len(rows))
    place = np.random.default_rng(0).integers(0, FOLDS, len(rows))
    for fold in range(FOLDS):
        learnt = [row for row, at in zip(rows, place, strict=True) if at != fold]
        tried = [row for row, at in zip(rows, place, strict=True) if at == fold]
        others = kinds[place != fold]
        chance[place == fold] = chances(matrix(tried, FOUND), found(learnt, others)) * chances(
            matrix(tried, ASKED), said(learnt, others)
        )
    return chance


def area(yes: Floats, no: Floats) -> float:
    """Under the curve: how often one of the first has a higher chance than one of the others."""
    return float((np.sum(yes[:, None] > no) + 0.5 * np.sum(yes[:, None] == no)) / (len(yes) * len(no)))


def report(chance: Floats, kinds: np.typing.NDArray[np.str_]) -> None:
    """The area under the curve for each kind, and what each threshold refuses."""
    names = sorted(set(kinds) - {ANSWERABLE}, key=list(WEIGHTS).index)
    yes = chance[kinds == ANSWERABLE]
    print(f"| below | in ({len(yes)}) | {' | '.join(f'{name} ({np.sum(kinds == name)})' for name in names)} |")
    print("|---" * (len(names) + 2) + "|")
    print(f"| area | | {' | '.join(f'{area(yes, chance[kinds == name]):.3f}' for name in names)} |")
    for threshold in THRESHOLDS:
        refused = [f"{np.mean(chance[kinds == name] < threshold):.3f}" for name in (ANSWERABLE, *names)]
        print(f"| {threshold} | {' | '.join(refused)} |")


if __name__ == "__main__":
    typer.run(main)
