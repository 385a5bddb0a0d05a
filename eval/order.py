"""Which order of passages an LLM reads best: is the gold string in its answer, is the citation right.

``python -m eval.order FOLDER`` asks every question once for each order, with the same passages and the same
budget, and prints what each order gains over the one that ships, with paired intervals. Passages of one title
become one document, so that there is an order to be found in it.
"""

from __future__ import annotations

import random
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated, Any, get_args

import httpx
import typer

from eval import retrieval
from eval.__main__ import place
from eval.answers import UNCHECKED, holds
from ragline.evaluation import beir
from ragline.evaluation.beir import Dataset
from ragline.evaluation.metrics import Difference, difference
from services.generator.prompts import SHIPPED, Order, Template, shipped
from tests.suite import Suite

ORDERS: tuple[Order, ...] = get_args(Order)
PROMPT = "answer.passages"
BETWEEN = "\n\n"
FIELD = re.compile(r"^order: *\w+$", re.MULTILINE)
ANSWER_TOKENS = 48
LLM = 'llamacpp {"style": "passages"}'


@dataclass(frozen=True)
class Place:
    """Where a passage of a set stands in the document that was made of it."""

    document: str
    start: int
    end: int


@dataclass(frozen=True)
class Told:
    """What one order did with one question; ``tokens`` are those of the prompt."""

    contains: bool
    cites: bool
    own: bool
    tokens: int


Measured = Mapping[Order, Sequence[Told]]


def joined(data: Dataset) -> tuple[Dataset, dict[str, Place]]:
    """The set with the passages of each title as one document, and where each passage stands in it."""
    parts: dict[str, list[str]] = {}
    for key, row in data.corpus.items():
        parts.setdefault(row["title"] or key, []).append(key)
    corpus: dict[str, dict[str, str]] = {}
    places: dict[str, Place] = {}
    for keys in parts.values():
        name, text = keys[0], ""
        for key in keys:
            text += BETWEEN if text else ""
            own = data.corpus[key]["text"]
            places[key] = Place(name, len(text), len(text) + len(own))
            text += own
        corpus[name] = {"title": data.corpus[name]["title"], "text": text}
    return replace(data, corpus=corpus), places


def prompts(folder: Path, orders: Sequence[str] = ORDERS) -> dict[Order, str]:
    """A copy of the shipped prompt for its own order and each of ``orders``, in ``folder``; their names."""
    source = (SHIPPED / f"{ships().id}.jinja").read_text(encoding="utf-8")
    folder.mkdir(parents=True, exist_ok=True)
    wanted: list[Order] = [order for order in ORDERS if order in (ships().order, *orders)]
    for order in wanted:
        text = FIELD.sub(f"order: {order}", source)
        (folder / f"order.{order}@1.jinja").write_text(text, encoding="utf-8")
    return {order: f"order.{order}" for order in wanted}


def ships() -> Template:
    """The shipped prompt that shows passages."""
    return shipped().choose(PROMPT, "answer", "passages")


def ask(client: httpx.Client, body: Mapping[str, Any], gold: Sequence[str], right: Sequence[Place]) -> Told:
    """One question in one order."""
    response = client.post("/generate", json=body)
    response.raise_for_status()
    answer = response.json()
    own = answer["model"] != "extractive"
    cited = any(
        each["document_id"] == place.document and each["start"] < place.end and place.start < each["end"]
        for each in answer["citations"]
        for place in right
    )
    return Told(own and holds(answer["answer"], list(gold)), own and cited, own, answer["usage"]["prompt_tokens"])


def measure(
    client: httpx.Client,
    data: Dataset,
    places: Mapping[str, Place],
    names: Mapping[Order, str],
    count: int,
) -> Measured:
    """Each order on the same ``count`` questions, drawn with a fixed seed."""
    able = sorted(query for query, gold in data.gold.items() if gold)
    made: dict[Order, list[Told]] = {order: [] for order in names}
    for query in random.Random(0).sample(able, min(count, len(able))):
        right = [places[key] for key, grade in data.judgements[query].items() if grade > 0]
        body = {"query": data.queries[query], "collection": data.name}
        for order, name in names.items():
            own = {**body, "prompt": name, "max_tokens": ANSWER_TOKENS}
            made[order].append(ask(client, own, data.gold[query], right))
    return made


def table(measured: Mapping[str, Measured], base: Order) -> str:
    """One row an order: the mean of the sets, and how far from ``base``, paired by question."""
    counts = ", ".join(f"{len(orders[base])} of {name}" for name, orders in measured.items())
    lines = [
        f"Questions: {counts}",
        "",
        "| order | contains gold | difference | cites gold | difference | LLM answered | prompt tokens |",
        "|---" * 7 + "|",
    ]
    for order in next(iter(measured.values())):
        cells: list[str] = [order]
        for field in ("contains", "cites"):
            one = compared(measured, order, base, field)
            cells += [f"{mean(measured, order, field):.3f}", str(one) if order != base else ""]
        cells += [f"{mean(measured, order, 'own'):.3f}", f"{mean(measured, order, 'tokens'):.0f}"]
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


def compared(measured: Mapping[str, Measured], order: Order, base: Order, field: str) -> Difference:
    """The mean over the sets of the difference between two orders."""
    return difference(
        [
            [
                (float(getattr(one, field)), float(getattr(other, field)))
                for one, other in zip(orders[order], orders[base], strict=True)
            ]
            for orders in measured.values()
        ]
    )


def mean(measured: Mapping[str, Measured], order: Order, field: str) -> float:
    """Of a figure: the mean of the sets' means."""
    sets = [[float(getattr(told, field)) for told in orders[order]] for orders in measured.values()]
    return sum(sum(values) / len(values) for values in sets) / len(sets)


def main(
    folders: Annotated[list[Path], typer.Argument(help="Sets in BEIR layout with gold answers.")],
    split: Annotated[str, typer.Option(help="The judgements, qrels/SPLIT.tsv.")] = "train",
    questions: Annotated[int, typer.Option(help="Questions of each set.")] = 100,
    orders: Annotated[list[str] | None, typer.Option(help="Those beside the shipped one; all without it.")] = None,
    budget: Annotated[int, typer.Option(help="GENERATOR_PROMPT_TOKENS.")] = 500,
    llm: Annotated[str, typer.Option(help="GENERATOR_LLM and its options as JSON.")] = LLM,
    keep: Annotated[Path | None, typer.Option(help="Where the documents stay for the next run.")] = None,
) -> None:
    """Put the sets in, ask, and print a table of each set and one of all."""
    if unknown := sorted(set(orders or ()) - set(ORDERS)):
        raise typer.BadParameter(f"{unknown[0]!r} is no order; there are {', '.join(ORDERS)}")
    measured: dict[str, Measured] = {}
    with place(keep) as held:
        names = prompts(held / "prompts", orders or ORDERS)
        name, _, given = llm.partition(" ")
        own = {
            **UNCHECKED,
            "GENERATOR_LLM": name,
            "GENERATOR_LLM_OPTIONS": given or "{}",
            "GENERATOR_PROMPT_TOKENS": str(budget),
            "GENERATOR_PROMPTS_DIR": str(held / "prompts"),
        }
        with Suite(held, own) as suite, suite.client(600) as client:
            for folder in folders:
                data, places = joined(beir.read(folder, split))
                retrieval.ingest(client, data)
                measured[data.name] = measure(client, data, places, names, questions)
                print(table({data.name: measured[data.name]}, ships().order), flush=True)
    if len(measured) > 1:
        print(table(measured, ships().order))


if __name__ == "__main__":
    typer.run(main)
