"""Measures the check of claims: of true ones, how many pass; of those that pass, how many are true.

``python -m eval.claims FOLDER`` makes claims from a training set by rule (``eval/rewriting.py``), checks each with
the passages that its question finds, by words alone and with the reranker as judge, and prints a table. With
``--fit`` it prints the numbers that stand in ``services/generator/checks/alike.py``, too.
"""

from __future__ import annotations

import asyncio
import random
import tempfile
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated

import numpy as np
import typer

from eval import retrieval
from eval.rewriting import NAME, Claim, Gold, claims
from ragline import grpc_client
from ragline.evaluation import beir
from ragline.evaluation.beir import Dataset
from ragline.evaluation.calibrating import fitted
from ragline.sentences import sentences
from ragline.v1.passage_pb2 import Passage
from services.generator.checks.alike import LEAST_CHANCE, contradicts, weakest
from services.generator.checks.attribution import Attribution
from services.generator.checks.citations import Citer, Needs
from services.generator.checks.evidence import split
from services.generator.checks.judging import Judge
from services.generator.events import Question
from services.generator.ranking import judge, rank
from services.generator.sources import Sources, Timeouts
from tests.suite import Suite

SHARE_IN = 0.5
THRESHOLDS = (LEAST_CHANCE, 0.45, 0.5, 0.6)
MESSAGE_MB = 64
TIMEOUTS = Timeouts(60.0, 60.0)
RIDGE = 1e-2
STATED = 5  # how often a question's statement counts in the fit: the other true claims are all but copies


@dataclass(frozen=True)
class Checked:
    """A claim, whether each way of checking lets it pass, and what the chance is computed from.

    ``weakest`` is None where words settle it, or the likeliest piece says otherwise: the chance decides nothing.
    """

    claim: Claim
    by_words: bool
    by_judge: bool
    chance: float | None
    weakest: float | None


def main(
    folder: Annotated[Path, typer.Argument(help="A training set made like SQuAD, in BEIR layout.")],
    questions: Annotated[int, typer.Option(help="Questions to make claims of.")] = 200,
    split_name: Annotated[str, typer.Option("--split", help="The judgements, qrels/SPLIT.tsv.")] = "train",
    seed: Annotated[int, typer.Option(help="Draws other questions.")] = 0,
    fit: Annotated[bool, typer.Option(help="Print the numbers of a new fit.")] = False,
    keep: Annotated[Path | None, typer.Option(help="Where the documents stay for the next run.")] = None,
) -> None:
    """Put half of the passages in, make claims, check them."""
    data = beir.read(folder, split_name)
    draw = random.Random(0)
    inside = {key: data.corpus[key] for key in sorted(data.corpus) if draw.random() < SHARE_IN}
    with tempfile.TemporaryDirectory() as place, Suite(keep or Path(place)) as suite, suite.client(600) as client:
        retrieval.ingest(client, replace(data, corpus=inside))
        ports = suite.environment
        made = asyncio.run(check_all(replace(data, corpus=inside), ports, questions, random.Random(seed)))
    print(table(made))
    if fit:
        print(refitted(made))


async def check_all(data: Dataset, ports: Mapping[str, str], count: int, draw: random.Random) -> list[Checked]:
    """Claims of ``count`` questions, each checked."""
    opened = [
        grpc_client.channel(ports[name], max_message_mb=MESSAGE_MB)
        for name in ("GENERATOR_RETRIEVER_ADDRESS", "GENERATOR_RERANKER_ADDRESS")
    ]
    sources = Sources(opened[0], opened[1], TIMEOUTS)
    asked = sorted(
        query
        for query, grades in data.judgements.items()
        if data.gold.get(query) and set(grades) & set(data.corpus)
    )
    beside: dict[str, list[str]] = defaultdict(list)
    for query in asked:
        beside[passage_of(data, query)].append(query)
    made: list[Checked] = []
    for query in draw.sample(asked, count):
        others = [data.gold[other][0] for other in beside[passage_of(data, query)] if other != query]
        made.extend(await checked(sources, data, query, others, draw))
    for channel in opened:
        await channel.close()
    return made


def passage_of(data: Dataset, query: str) -> str:
    """The passage that answers."""
    return next(key for key in data.judgements[query] if key in data.corpus)


async def checked(
    sources: Sources, data: Dataset, query: str, others: Sequence[str], draw: random.Random
) -> list[Checked]:
    """The claims about one question's passage; none where the passage is not found."""
    key = passage_of(data, query)
    text = data.corpus[key]["text"]
    stated = [answer for answer in data.gold[query] if answer in text]
    question = Question("default", data.name, data.queries[query], 5, 100)
    found = (await sources.search(question, 50))[0].results[0]
    ranking = await rank(sources, question, found)
    passages = [each.passage for each in ranking.best]
    if not stated or key not in {each.document_id for each in passages}:
        return []
    gold = Gold(data.queries[query], min(stated, key=len), text)
    names = sorted({match[0] for match in NAME.finditer(text)})
    about = [*claims(gold, others, names, pool(data, draw), draw), elsewhere(data, passages_text(passages), draw)]
    citer, asking = Citer(passages, split(passages)), judge(sources, ranking, found)
    words = await Attribution(citer).check([each.text for each in about])
    both = await Attribution(citer, asking).check([each.text for each in about])
    return [
        Checked(
            claim,
            one.support is not None,
            two.support is not None,
            two.chance,
            await likeliest(claim, citer, asking) if one.share < 1.0 else None,
        )
        for claim, one, two in zip(about, words, both, strict=True)
    ]


async def likeliest(claim: Claim, citer: Citer, asking: Judge | None) -> float | None:
    """Of the piece that the check would take; None where there is none or it says otherwise."""
    needs = Needs(claim.text)
    pieces = Attribution(citer).comparable(needs)
    alike = await asking.one(claim.text, pieces) if asking else []
    found = [(weakest(needs, piece, one), piece) for piece, one in zip(pieces, alike, strict=False)]
    if not found:
        return None
    least, piece = max(found, key=lambda each: each[0])
    return None if contradicts(needs, piece) else least


def passages_text(passages: Sequence[Passage]) -> str:
    """All that was found, to look whether a sentence is in it."""
    return " ".join(each.text for each in passages)


def pool(data: Dataset, draw: random.Random) -> list[str]:
    """Words that may stand for others."""
    texts = (data.corpus[key]["text"] for key in draw.sample(sorted(data.corpus), 30))
    found = {word for text in texts for word in text.split()}
    return sorted(word for word in found if word.isalpha() and word.islower() and len(word) > 4)


def elsewhere(data: Dataset, known: str, draw: random.Random) -> Claim:
    """A sentence of a passage that was not found."""
    while True:
        text = data.corpus[draw.choice(sorted(data.corpus))]["text"]
        start, end = draw.choice(sentences(text))
        if text[start:end] not in known:
            return Claim(text[start:end], "another passage", False)


def table(made: Sequence[Checked]) -> str:
    """One row a kind of claim: how many pass each way; then precision and recall."""
    kinds: dict[tuple[bool, str], list[Checked]] = defaultdict(list)
    for each in made:
        kinds[not each.claim.true, each.claim.kind].append(each)
    lines = ["| claim | | claims | pass by words | with the reranker |", "|---|---|---|---|---|"]
    for (false, kind), some in sorted(kinds.items()):
        words, both = (np.mean([getattr(one, way) for one in some]) for way in ("by_words", "by_judge"))
        lines.append(f"| {kind} | {'false' if false else 'true'} | {len(some)} | {words:.2f} | {both:.2f} |")
    for name, measured in (("precision", precision), ("recall", recall)):
        values = [measured(made, way) for way in ("by_words", "by_judge")]
        lines.append(f"| **{name}** | | {len(made)} | {values[0]:.3f} | {values[1]:.3f} |")
    lines += ["", "| least chance | precision | recall | of statements |", "|---|---|---|---|"]
    for least in THRESHOLDS:
        passed = [each for each in made if each.by_judge and (each.chance is None or each.chance >= least)]
        true = [each for each in passed if each.claim.true]
        stated = [len([one for one in some if one.claim.kind == "stated"]) for some in (true, made)]
        total = sum(each.claim.true for each in made)
        lines.append(
            f"| {least} | {len(true) / len(passed):.3f} | {len(true) / total:.3f} | {stated[0] / stated[1]:.2f} |"
        )
    return "\n".join(lines)


def precision(made: Sequence[Checked], way: str) -> float:
    """Of the claims that pass, the share that is true."""
    return float(np.mean([each.claim.true for each in made if getattr(each, way)]))


def recall(made: Sequence[Checked], way: str) -> float:
    """Of the true claims, the share that passes."""
    return float(np.mean([getattr(each, way) for each in made if each.claim.true]))


def refitted(made: Sequence[Checked]) -> str:
    """The weight and the bias, from the claims that the chance decides."""
    rows = [
        (each.weakest, float(each.claim.true))
        for each in made
        if each.weakest is not None
        for _ in range(STATED if each.claim.kind == "stated" else 1)
    ]
    weights = fitted(np.array([[least] for least, _ in rows]), np.array([true for _, true in rows]), ridge=RIDGE)
    return "WEAKEST={:.2f}, BIAS={:.2f}".format(*weights)


if __name__ == "__main__":
    typer.run(main)
