"""Finds the passage of follow-up questions: as asked, made to stand alone by rules or an LLM, and by people."""

from __future__ import annotations

import asyncio
import json
import random
import re
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, dataclass, replace
from itertools import pairwise
from pathlib import Path
from typing import Annotated, Any

import httpx
import typer

from eval import retrieval
from eval.__main__ import DEFAULT_DATA, HERE, place
from eval.answers import holds
from ragline import backends
from ragline.evaluation import beir
from ragline.evaluation.metrics import interval
from ragline.models import ModelStore
from ragline.sentences import sentences
from ragline.settings import Settings
from services.generator.conversations.standalone import How, Standalone
from services.generator.events import Question, Turn
from services.generator.llms import LLM, Parts
from services.generator.prompts import shipped
from tests.suite import Suite

TOP = 5  # passages that an answer is made from by default
OPTIONS: Mapping[str, Any] = {"mode": "hybrid", "top_k": retrieval.POOL, "rerank": True}
WRITTEN = HERE / "conversations" / "squad.jsonl"
SEED = 0


@dataclass(frozen=True)
class Asked:
    """A question of a conversation; ``gold`` is a wording that stands alone, ``passage`` the one that answers."""

    question: str
    turns: tuple[Turn, ...]
    gold: str
    passage: str
    answers: tuple[str, ...] = ()


def written(path: Path = WRITTEN) -> Iterator[Asked]:
    """The follow-ups of the conversations that were written for this."""
    for line in path.read_text(encoding="utf-8").splitlines():
        turns = json.loads(line)["turns"]
        said = tuple(Turn(turn["question"], turn["answer"]) for turn in turns)
        for number, turn in enumerate(turns):
            if "alone" in turn:
                yield Asked(turn["question"], said[:number], turn["alone"], turn["passage"])


def made(path: Path, count: int) -> list[Asked]:
    """Questions of SQuAD whose article's name is replaced by "it", after another question that names it."""
    found = []
    for article in json.loads(path.read_text())["data"]:
        title = article["title"].replace("_", " ")
        about = re.compile(rf"\b(?:the )?{re.escape(title)}(?P<whose>'s)?(?!\w)", re.IGNORECASE)
        naming = [row for row in asked(article) if about.search(row[1])]
        for (_, question, answer, text), (passage, later, gold, _) in pairwise(naming):
            pointing = about.sub(lambda match: "its" if match["whose"] else "it", later, count=1)
            said = Turn(question, sentence_of(text, answer))
            found.append(Asked(pointing, (said,), later, passage, (gold,)))
    return random.Random(SEED).sample(found, min(count, len(found)))


def switches(path: Path, count: int) -> list[Asked]:
    """Questions that stand alone, each after a turn about something else: no rewriting may spoil them."""
    articles = json.loads(path.read_text())["data"]
    draw = random.Random(SEED)
    found = []
    for _ in range(count):
        one, other = draw.sample(articles, 2)
        _, question, answer, text = draw.choice(asked(one))
        passage, later, _, _ = draw.choice(asked(other))
        found.append(Asked(later, (Turn(question, sentence_of(text, answer)),), later, passage))
    return found


def asked(article: Mapping[str, Any]) -> list[tuple[str, str, str, str]]:
    """Passage id, question, answer and the passage's text of all questions of an article."""
    return [
        (f"{article['title']}::{number}", qa["question"].strip(), qa["answers"][0]["text"], paragraph["context"])
        for number, paragraph in enumerate(article["paragraphs"])
        for qa in paragraph["qas"]
    ]


def sentence_of(text: str, answer: str) -> str:
    """The sentence that an extractive answer would be."""
    whole = [text[start:end] for start, end in sentences(text)]
    return next((each for each in whole if answer in each), answer) + " [1]"


def answered(client: httpx.Client, collection: str, asked: Sequence[Asked]) -> None:
    """Ask for answers: without the conversation, with it, and in the wording that stands alone."""
    ways: Mapping[str, Callable[[Asked], dict[str, Any]]] = {
        "as asked": lambda each: {"query": each.question},
        "with turns": lambda each: {"query": each.question, "turns": [asdict(turn) for turn in each.turns]},
        "gold": lambda each: {"query": each.gold},
    }
    print(f"\nanswers to made follow-ups ({len(asked)} questions)")
    for name, body in ways.items():
        said = [client.post("/generate", json={"collection": collection, **body(each)}).json() for each in asked]
        right = sum(holds(one["answer"], list(each.answers)) for one, each in zip(said, asked, strict=True))
        abstained = sum(one["abstained"] for one in said)
        print(f"  {name:14} contains gold {right / len(asked):.3f}  abstained {abstained / len(asked):.3f}")


async def rewritten(asked: Sequence[Asked], how: How, llm: LLM) -> list[str]:
    """The questions as the generator would search for them."""
    rewriter = Standalone(lambda question: llm, shipped(), how, timeout_s=60.0)
    empty = Question("default", "default", "", top_k=TOP, max_tokens=1)
    return [await rewriter.rewrite(replace(empty, query=each.question), each.turns) for each in asked]


def recalls(client: httpx.Client, collection: str, asked: Sequence[Asked], queries: Sequence[str]) -> list[float]:
    """For each question 1 where its passage is among the first, else 0."""
    numbered = {str(number): query for number, query in enumerate(queries)}
    found = dict(retrieval.rankings(client, collection, numbered, OPTIONS))
    return [float(each.passage in found[str(number)][:TOP]) for number, each in enumerate(asked)]


def ways(asked: Sequence[Asked], model: LLM, llm: str) -> dict[str, Callable[[], list[str]]]:
    """How questions are put: as asked, by rules, by the LLM where one is named, and by people."""

    def by(how: How) -> list[str]:
        return asyncio.run(rewritten(asked, how, model))

    hows: dict[str, Callable[[], list[str]]] = {
        "as asked": lambda: [each.question for each in asked],
        "rules": lambda: by("rules"),
        "gold": lambda: [each.gold for each in asked],
    }
    return hows | {llm: lambda: by("llm")} if llm else hows


def measure(
    client: httpx.Client, collection: str, asked: Sequence[Asked], hows: Mapping[str, Callable[[], list[str]]]
) -> dict[str, Any]:
    """Each way of rewriting: recall, the share that it changed, milliseconds a question."""
    figures: dict[str, Any] = {}
    for name, rewrite in hows.items():
        begun = time.perf_counter()
        queries = rewrite()
        took = (time.perf_counter() - begun) * 1000 / len(asked)
        hits = recalls(client, collection, asked, queries)
        changed = sum(query != each.question for query, each in zip(queries, asked, strict=True))
        figures[name] = {"recall": hits, "changed": changed / len(asked), "ms": took, "queries": queries}
    return figures


def show(name: str, figures: Mapping[str, Any]) -> None:
    """One row a way; the interval is of the difference to the question as asked, paired."""
    base = figures["as asked"]["recall"]
    print(f"\n{name} ({len(base)} questions), recall@{TOP}")
    for how, figure in figures.items():
        hits = figure["recall"]
        low, high = interval([hit - before for hit, before in zip(hits, base, strict=True)])
        print(
            f"  {how:14} {sum(hits) / len(hits):.3f}  [{low:+.3f}, {high:+.3f}]  changed {figure['changed']:.2f}"
            f"  {figure['ms']:.1f} ms"
        )


def main(
    data: Annotated[Path, typer.Argument(help="squad11-dev in BEIR layout, with its JSON.")] = DEFAULT_DATA
    / "squad11-dev",
    count: Annotated[int, typer.Option(help="Most made follow-ups, and most changes of subject.")] = 300,
    answers: Annotated[int, typer.Option(help="Made follow-ups to ask for answers.")] = 0,
    llm: Annotated[
        str, typer.Option(help="Measure rewriting by an LLM, too: its kind, and its options as JSON.")
    ] = "",
    url: Annotated[str, typer.Option(help="A suite that has the set already, as collection squad11-dev.")] = "",
    output: Annotated[Path, typer.Option(help="Where all goes, as JSON.")] = HERE
    / "results"
    / "conversation.json",
    keep: Annotated[Path | None, typer.Option(help="Where the documents stay for the next run.")] = None,
) -> None:
    """Put the set in, rewrite every way, search, and print what was found."""
    sets = {
        "written follow-ups": list(written()),
        "made follow-ups": made(data / "dev-v1.1.json", count),
        "changes of subject": switches(data / "dev-v1.1.json", count),
    }
    results = {}
    with ExitStack() as held:
        client, model = held.enter_context(suite(data, url, keep)), loaded(llm)
        for name, asked in sets.items():
            hows = ways(asked, model, llm)
            results[name] = measure(client, data.name, asked, hows)
            show(name, results[name])
        if answers:
            answered(client, data.name, sets["made follow-ups"][:answers])
    output.parent.mkdir(parents=True, exist_ok=True)
    output.write_text(json.dumps(results, indent=1))


@contextmanager
def suite(data: Path, url: str, keep: Path | None) -> Iterator[httpx.Client]:
    """A client of the suite at ``url``, or of a new one that has the set."""
    if url:
        with httpx.Client(base_url=url, timeout=600) as client:
            yield client
        return
    with place(keep) as folder, Suite(folder) as running, running.client(600) as client:
        retrieval.ingest(client, beir.read(data))
        yield client


def loaded(llm: str) -> LLM:
    """The LLM that rewrites, of a kind with options, if any; without a name extractive, which cannot."""
    name, _, options = llm.partition(" ")
    parts = Parts(ModelStore(Settings().models_dir).resolve, None, threads=2, timeout_s=60.0)
    made: LLM = backends.load("services.generator.llms", name or "extractive", parts, json.loads(options or "{}"))
    return made


if __name__ == "__main__":
    typer.run(main)
