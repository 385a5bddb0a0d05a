"""Draws what refusing costs and buys: risk against coverage, over answerable and unanswerable questions.

``python -m eval.curve FOLDER --unknown JSON`` asks both without refusing any, and tells what each threshold of
GENERATOR_ABSTAIN_BELOW would have done; the plot needs matplotlib (``pip install 'ragline[eval]'``).
"""

from __future__ import annotations

import random
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import numpy as np
import typer

from eval import answers, retrieval
from eval.abstention import THRESHOLDS, area
from ragline.evaluation import beir
from ragline.evaluation.metrics import Floats
from tests.suite import Suite

SIZE = (7.0, 4.2)  # inches
LABELLED = {0.1, 0.2, 0.3, 0.5}  # thresholds that are named in the plot: others would lie upon each other


@dataclass(frozen=True)
class Asked:
    """A question with its chance; ``right`` says whether its answer holds the gold string."""

    answerable: bool
    chance: float
    right: bool


def main(
    folder: Annotated[Path, typer.Argument(help="A set in BEIR layout with gold answers, such as squad11-dev.")],
    unknown: Annotated[Path, typer.Option(help="SQuAD 2.0's JSON, for unanswerable questions.")],
    questions: Annotated[int, typer.Option(help="Questions to ask, of either kind.")] = 500,
    plot: Annotated[Path | None, typer.Option(help="Where the plot goes, .svg or .png.")] = None,
    keep: Annotated[Path | None, typer.Option(help="Where the documents stay for the next run.")] = None,
) -> None:
    """Ask without refusing, print a table and draw the curve."""
    data = beir.read(folder)
    picked = random.Random(0).sample(sorted(query for query, gold in data.gold.items() if gold), questions)
    impossible = answers.unanswerable(unknown, questions)
    environment = {"GENERATOR_LLM": "extractive", "GENERATOR_ABSTAIN_BELOW": "0"}
    with (
        tempfile.TemporaryDirectory() as place,
        Suite(keep or Path(place), environment) as suite,
        suite.client(600) as client,
    ):
        retrieval.ingest(client, data)
        first = answers.ask(client, data.name, [data.queries[query] for query in picked])
        others = answers.ask(client, data.name, impossible)
    chance = [answer["explain"]["abstention"]["chance"] for answer in (*first, *others)]
    right = [
        answers.holds(answer["answer"], data.gold[query]) for query, answer in zip(picked, first, strict=True)
    ]
    rows = [Asked(at < len(first), value, at < len(first) and right[at]) for at, value in enumerate(chance)]
    print(table(rows))
    if plot:
        draw(rows, plot)


def parts(rows: Sequence[Asked]) -> tuple[Floats, Floats]:
    """The chances of the answerable questions, and of the others."""
    return (
        np.array([row.chance for row in rows if row.answerable]),
        np.array([row.chance for row in rows if not row.answerable]),
    )


def table(rows: Sequence[Asked]) -> str:
    """What each threshold refuses, how right that is, and what is wrong of what is left."""
    yes, no = parts(rows)
    lines = [
        f"{len(yes)} answerable and {len(no)} unanswerable; area under the curve {area(yes, no):.3f}\n",
        "| below | answerable refused | unanswerable refused (recall) | precision | coverage | risk |",
        "|---" * 6 + "|",
    ]
    for threshold in (0.0, *THRESHOLDS):
        lost, refused = yes < threshold, no < threshold
        kept = [row for row in rows if row.chance >= threshold]
        precise = refused.sum() / max(1, lost.sum() + refused.sum())
        risk = np.mean([not row.right for row in kept]) if kept else 0.0
        figures = (lost.mean(), refused.mean(), precise, len(kept) / len(rows), risk)
        lines.append(f"| {threshold} | {' | '.join(f'{figure:.3f}' for figure in figures)} |")
    return "\n".join(lines)


def risks(rows: Sequence[Asked], order: Sequence[float]) -> tuple[Floats, Floats]:
    """Coverage and risk as the questions are answered from the highest of ``order`` to the lowest."""
    best = np.argsort(-np.asarray(order), kind="stable")
    wrong = np.array([not rows[at].right for at in best], dtype=np.float64)
    count = np.arange(1, len(rows) + 1)
    return count / len(rows), np.cumsum(wrong) / count


def draw(rows: Sequence[Asked], path: Path) -> None:
    """The curve, beside that of answering at random and that of knowing what is right."""
    import matplotlib as mpl  # noqa: PLC0415 - only who wants the plot needs it

    mpl.use("Agg")
    from matplotlib import pyplot as plt  # noqa: PLC0415

    mpl.rcParams["svg.hashsalt"] = "ragline"
    figure, axes = plt.subplots(figsize=SIZE, layout="constrained")
    curves = {
        "by the chance that the passages hold the answer": [row.chance for row in rows],
        "if it were known what is right": [float(row.right) for row in rows],
    }
    for label, order in curves.items():
        axes.plot(*risks(rows, order), label=label)
    axes.axhline(float(np.mean([not row.right for row in rows])), color="grey", linestyle=":", label="at random")
    for threshold in THRESHOLDS:
        kept = [row for row in rows if row.chance >= threshold]
        if kept:
            at = len(kept) / len(rows), float(np.mean([not row.right for row in kept]))
            axes.plot(*at, "ko", markersize=3)
            if threshold in LABELLED:
                axes.annotate(str(threshold), at, textcoords="offset points", xytext=(-6, 6), fontsize=8)
    axes.set(xlabel="coverage: share of questions answered", ylabel="risk: share of these answered wrongly")
    axes.set(xlim=(0, 1), ylim=(0, None))
    axes.legend(frameon=False, loc="lower right", fontsize=8)
    figure.savefig(path, metadata={"Date": None} if path.suffix == ".svg" else None)
    plt.close(figure)


if __name__ == "__main__":
    typer.run(main)
