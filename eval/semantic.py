"""Measures how often the semantic cache recognises a question in other words, and how often it errs.

``python -m eval.semantic`` tries our own pairs: the same asked in other words, and look-alikes that differ in a
number, a name, a negation, a unit or the order. ``python -m eval.semantic FOLDER...`` adds real questions, sets in
BEIR layout with gold answers: of each question its nearest others. A pair that is taken for the same and has no
answer in common counts as an error; each is printed, as many of them are only annotated in other words.
"""

from __future__ import annotations

import asyncio
import json
import tempfile
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import numpy as np
import typer

import ragline.cache
from ragline.encoder import Encoder
from ragline.evaluation import beir
from ragline.models import ModelStore
from ragline.v1.reranker_pb2 import Match
from services.generator.checks.evidence import words
from services.generator.semantic import Choices, Near, Semantic, Vectors
from services.generator.semantic.sameness import Sense, differ
from services.generator.sources import Sources, Timeouts
from services.reranker.__main__ import build
from services.reranker.settings import Settings
from tests.generator.world import serving

OURS = Path(__file__).parent / "semantic_pairs" / "pairs.jsonl"
NEAREST = 5
GRID = [(cosine, least) for cosine in (0.7, 0.8, 0.9) for least in (0.5, 0.6, 0.65, 0.7, 0.75)]


@dataclass(frozen=True)
class Pair:
    """Two questions; ``same`` where they ask the same. ``cosine`` says how near they are."""

    one: str
    other: str
    same: bool
    kind: str
    cosine: float = 0.0


@dataclass(frozen=True)
class Judged:
    """A pair with what sets it apart by its words alone, and what the reranker said where nothing does."""

    pair: Pair
    reason: str
    agreement: float = 0.0
    there: Sequence[Match] = ()
    back: Sequence[Match] = ()

    def hit(self, cosine: float, least: float) -> bool:
        """Whether it is taken for the same, where agreement and words must come to ``least``."""
        if self.reason or self.pair.cosine < cosine or self.agreement < least:
            return False
        return not differ(Sense(self.pair.one), Sense(self.pair.other), Near(self.there, self.back, least))


def main(
    folders: Annotated[list[Path] | None, typer.Argument(help="Sets in BEIR layout with gold answers.")] = None,
    split: Annotated[str, typer.Option(help="The judgements, qrels/SPLIT.tsv.")] = "test",
    floor: Annotated[float, typer.Option(help="Real pairs must be as near as this.")] = 0.7,
    queries: Annotated[int, typer.Option(help="Most questions a set.")] = 20_000,
    wrong: Annotated[bool, typer.Option(help="Print the pairs that were wrongly taken for the same.")] = True,
) -> None:
    """Judge all pairs once, then print what each threshold would let through."""
    encoder = Encoder.open(ModelStore(Settings().models_dir).resolve("all-MiniLM-L6-v2"), threads=2)
    ours = [Pair(**json.loads(line)) for line in OURS.read_text().splitlines()]
    report("our pairs", asyncio.run(judged(placed(ours, encoder))), wrong=wrong)
    for folder in folders or []:
        data = beir.read(folder, split)
        report(data.name, asyncio.run(judged(real(data, encoder, floor, queries))), wrong=wrong)


def embedded(texts: Sequence[str], encoder: Encoder) -> Vectors:
    """Unit vectors of the texts."""
    order = sorted(range(len(texts)), key=lambda at: len(texts[at]))
    vectors = np.zeros((len(texts), encoder.dimensions), dtype=np.float32)
    for begin in range(0, len(order), 64):
        part = order[begin : begin + 64]
        vectors[part] = encoder.encode(encoder.tokenize([texts[at] for at in part])).vectors
    return vectors


def placed(pairs: Sequence[Pair], encoder: Encoder) -> list[Pair]:
    """The pairs with their cosines."""
    one, other = (embedded([getattr(pair, side) for pair in pairs], encoder) for side in ("one", "other"))
    cosines = np.sum(one * other, axis=1).tolist()
    return [
        Pair(pair.one, pair.other, pair.same, pair.kind, cosine)
        for pair, cosine in zip(pairs, cosines, strict=True)
    ]


def real(data: beir.Dataset, encoder: Encoder, floor: float, most: int) -> list[Pair]:
    """Each question with its nearest others, less those of the same words; same where they share an answer."""
    ids = sorted(query for query in data.queries if data.gold.get(query))[:most]
    texts = [data.queries[query] for query in ids]
    vectors = embedded(texts, encoder)
    found: dict[tuple[int, int], Pair] = {}
    for at, vector in enumerate(vectors):
        cosines = vectors @ vector
        for near in np.argsort(-cosines)[: NEAREST + 1].tolist():
            first, second = min(at, near), max(at, near)
            if near == at or cosines[near] < floor or words(texts[first]) == words(texts[second]):
                continue
            answers = [{answer.casefold() for answer in data.gold[ids[i]]} for i in (first, second)]
            shared = bool(answers[0] & answers[1])
            found[first, second] = Pair(texts[first], texts[second], shared, "real", float(cosines[near]))
    return list(found.values())


async def judged(pairs: Sequence[Pair]) -> list[Judged]:
    """What the words say of each pair and, where they say nothing, the real reranker."""
    with tempfile.TemporaryDirectory() as folder:
        service = await build(Settings(data_dir=Path(folder), scorer="late_interaction", threads=2))
        await service.start()
        async with serving(service.add_rpc) as channel:
            sources = Sources(channel, channel, Timeouts(60.0, 60.0))
            semantic = Semantic(ragline.cache.open("memory://"), sources, Choices(), 60.0)
            found = [await judge(pair, semantic) for pair in pairs]
        await service.stop()
    return found


async def judge(pair: Pair, semantic: Semantic) -> Judged:
    """One pair, both ways."""
    if reason := differ(Sense(pair.one), Sense(pair.other)):
        return Judged(pair, reason)
    there, back = await semantic.compared(pair.one, pair.other), await semantic.compared(pair.other, pair.one)
    if there is None or back is None:
        return Judged(pair, "away")
    return Judged(pair, "", min(there[0], back[0]), there[1], back[1])


def report(name: str, found: Sequence[Judged], *, wrong: bool) -> None:
    """What is let through at each threshold, what set the others apart, and the errors at the default."""
    same = [each for each in found if each.pair.same]
    others = [each for each in found if not each.pair.same]
    print(f"\n{name}: {len(same)} pairs that ask the same, {len(others)} that do not")
    print("| cosine | agreement, words | taken of the same | wrongly taken of the others |\n|---|---|---|---|")
    for cosine, least in GRID:
        right, errors = (sum(each.hit(cosine, least) for each in part) for part in (same, others))
        print(f"| {cosine} | {least} | {share(right, same)} | {share(errors, others)} |")
    print("cosine alone:", ", ".join(alone(cosine, same, others) for cosine in (0.8, 0.9, 0.95)))
    print("set apart by words:", dict(Counter(each.reason for each in others if each.reason).most_common()))
    default = Choices()
    for each in others if wrong else ():
        if each.hit(default.cosine, default.agreement):
            print(f"  {each.pair.one} | {each.pair.other} ({each.pair.cosine:.2f}, {each.agreement:.2f})")


def share(part: int, of: Sequence[Judged]) -> str:
    """A count and a share."""
    return f"{part} ({part / max(1, len(of)):.1%})"


def alone(cosine: float, same: Sequence[Judged], others: Sequence[Judged]) -> str:
    """What a cache that goes by the cosine alone would take."""
    right, errors = (sum(each.pair.cosine >= cosine for each in part) for part in (same, others))
    return f"{cosine}: {share(right, same)} and wrongly {share(errors, others)}"


if __name__ == "__main__":
    typer.run(main)
