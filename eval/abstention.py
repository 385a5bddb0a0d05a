"""Fits the chance that passages hold an answer: questions whose passage is there against the others.

``python -m eval.abstention FOLDER`` prints the numbers that stand in ``services/generator/abstain.py``. Give it a
training set, never one that answers are evaluated on.
"""

from __future__ import annotations

import random
import tempfile
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any

import httpx
import numpy as np
import typer

from eval import retrieval
from ragline.evaluation import beir
from ragline.evaluation.calibrating import chances, fitted
from ragline.evaluation.metrics import Floats
from tests.suite import Suite

SHARE_IN = 0.5
THRESHOLDS = (0.1, 0.15, 0.2, 0.25, 0.3, 0.4, 0.5)


def main(
    folder: Annotated[Path, typer.Argument(help="A set in BEIR layout.")],
    questions: Annotated[int, typer.Option(help="Questions to ask.")] = 1000,
    scorer: Annotated[str, typer.Option(help="The reranker's scorer.")] = "late_interaction",
    split: Annotated[str, typer.Option(help="The judgements, qrels/SPLIT.tsv.")] = "train",
) -> None:
    """Put half of the passages in, ask, fit on half of the questions, and report on the others."""
    data = beir.read(folder, split)
    draw = random.Random(0)
    inside = {key for key in sorted(data.corpus) if draw.random() < SHARE_IN}
    asked = draw.sample(sorted(data.queries), questions)
    environment = {"GENERATOR_LLM": "extractive", "RERANKER_SCORER": scorer}
    with (
        tempfile.TemporaryDirectory() as place,
        Suite(Path(place), environment) as suite,
        suite.client(600) as client,
    ):
        retrieval.ingest(client, replace(data, corpus={key: data.corpus[key] for key in sorted(inside)}))
        features = np.array([explained(client, data.name, data.queries[query]) for query in asked])
    held = np.array([bool(inside & set(data.judgements[query])) for query in asked], dtype=np.float64)
    half = questions // 2
    weights = fitted(features[:half], held[:half])
    report(chances(features[half:], weights), held[half:])
    sentence, gap, bias = fitted(features, held)
    print(f"bias={bias:.2f}, sentence={sentence:.2f}, gap={gap:.2f}, typical_gap={features[:, 1].mean():.3f}")


def explained(client: httpx.Client, collection: str, query: str) -> list[float]:
    """The features of a question, as ``explain`` tells them."""
    answer = client.post("/generate", json={"query": query, "collection": collection, "explain": True})
    answer.raise_for_status()
    told: dict[str, Any] = answer.json()["explain"]["abstention"]
    return [told["sentence_score"], told["gap"]]


def report(chance: Floats, held: Floats) -> None:
    """The area under the curve, and what each threshold refuses."""
    yes, no = chance[held == 1], chance[held == 0]
    area = (np.sum(yes[:, None] > no) + 0.5 * np.sum(yes[:, None] == no)) / (len(yes) * len(no))
    print(f"{len(yes)} with their passage, {len(no)} without; area under the curve {area:.3f}")
    for threshold in THRESHOLDS:
        refused = f"{np.mean(yes < threshold):.3f} of the first, {np.mean(no < threshold):.3f} of the others"
        print(f"  below {threshold}: refuses {refused}")


if __name__ == "__main__":
    typer.run(main)
