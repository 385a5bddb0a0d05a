"""What other wordings of a question add to the search: quality before and after reranking, and time."""

from __future__ import annotations

import asyncio
import json
import random
import time
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any

import typer

from eval import retrieval
from eval.__main__ import DEFAULT_DATA, HERE, place
from eval.conversation import loaded
from ragline import grpc_client
from ragline.evaluation import beir
from ragline.evaluation.metrics import interval, ndcg, recall
from ragline.v1 import retriever_pb2
from services.generator.events import Question
from services.generator.expansion import Expansions, How
from services.generator.fusing import fuse
from services.generator.llms import LLM
from services.generator.prompts import shipped
from services.generator.ranking import rank
from services.generator.sources import Sources, Timeouts
from tests.suite import Suite

POOL = retrieval.POOL
SETS = ("squad11-dev", "scifact", "cisi")
SEED = 0
TIMEOUT_S = 60.0
BASE = "question alone"

Results = Sequence[retriever_pb2.SearchResult]
Fuse = Callable[[Results], retriever_pb2.SearchResult]


def best_of(results: Results, other: float) -> retriever_pb2.SearchResult:
    """Each passage by the best of its scores, those of other wordings counting ``other``: beside ``fuse``."""
    scores: dict[str, float] = defaultdict(float)
    hits: dict[str, retriever_pb2.Hit] = {}
    for number, result in enumerate(results):
        top = max((hit.score for hit in result.hits), default=1.0) or 1.0
        for hit in result.hits:
            hits.setdefault(hit.passage.id, hit)
            weight = other if number else 1.0
            scores[hit.passage.id] = max(scores[hit.passage.id], weight * hit.score / top)
    order = sorted(scores, key=lambda each: -scores[each])[:POOL]
    return retriever_pb2.SearchResult(hits=[hits[each] for each in order], statistics=results[0].statistics)


# Name -> who writes the wordings, how many, and how what they found is joined.
WAYS: Mapping[str, tuple[How, int, Fuse]] = {
    BASE: ("rules", 0, lambda results: results[0]),
    "1 by rules": ("rules", 1, lambda results: fuse(results, POOL)),
    "2 by rules": ("rules", 2, lambda results: fuse(results, POOL)),
    "2 by rules, equal": ("rules", 2, lambda results: fuse(results, POOL, 1.0)),
    "2 by rules, best": ("rules", 2, lambda results: best_of(results, 0.9)),
}
BY_LLM: Mapping[str, tuple[How, int, Fuse]] = {
    BASE: WAYS[BASE],
    "2 by rules": WAYS["2 by rules"],
    "2 by SmolLM2": ("llm", 2, lambda results: fuse(results, POOL)),
}


async def measure(
    sources: Sources,
    data: beir.Dataset,
    picked: Sequence[str],
    ways: Mapping[str, tuple[How, int, Fuse]],
    llm: LLM,
) -> dict[str, dict[str, list[float]]]:
    """Way -> metric -> one value a query."""
    figures: dict[str, dict[str, list[float]]] = {way: defaultdict(list) for way in ways}
    for query in picked:
        for way, (how, count, join) in ways.items():
            asked = Question("default", data.name, data.queries[query], POOL, 1, expand=count)
            values = await one(sources, asked, how, join, llm, data.judgements[query])
            for metric, value in values.items():
                figures[way][metric].append(value)
    return figures


async def one(
    sources: Sources, asked: Question, how: How, join: Fuse, llm: LLM, grades: Mapping[str, int]
) -> dict[str, float]:
    """The metrics of one question, searched for one way."""
    begun = time.perf_counter()
    expansions = Expansions(lambda question: llm, shipped(), how, timeout_s=TIMEOUT_S)
    others = await expansions.wordings(asked)
    worded = time.perf_counter()
    request = retriever_pb2.SearchRequest(
        tenant=asked.tenant, collection=asked.collection, queries=[asked.query, *others], top_k=POOL
    )
    found = await grpc_client.call(sources.retriever.Search, request, timeout_s=TIMEOUT_S)
    searched = time.perf_counter()
    joined = join(found.results)
    before = documents(list(joined.hits))
    after = documents([each.hit for each in (await rank(sources, asked, joined)).best])
    return {
        "ndcg@10 searched": ndcg(before, grades),
        "recall@50": recall(before, grades),
        "ndcg@10 reranked": ndcg(after, grades),
        "wording ms": (worded - begun) * 1000,
        "search ms": (searched - worded) * 1000,
        "wordings": float(len(others)),
    }


def documents(hits: Sequence[retriever_pb2.Hit]) -> list[str]:
    """The documents of the hits, each once."""
    return list(dict.fromkeys(hit.passage.document_id for hit in hits))


def show(name: str, figures: Mapping[str, Mapping[str, Sequence[float]]]) -> None:
    """One row a way; intervals are of the difference to the question alone, paired by query."""
    base = figures[BASE]
    print(f"\n{name} ({len(base['recall@50'])} queries)")
    for way, metrics in figures.items():
        cells = []
        for metric in ("ndcg@10 searched", "recall@50", "ndcg@10 reranked"):
            low, high = interval([a - b for a, b in zip(metrics[metric], base[metric], strict=True)])
            cells.append(f"{metric} {mean(metrics[metric]):.3f} [{low:+.3f}, {high:+.3f}]")
        ratio = median(metrics["search ms"]) / median(base["search ms"])
        print(f"  {way:18} {'  '.join(cells)}  search x{ratio:.2f}  wording {mean(metrics['wording ms']):.1f} ms")


def mean(values: Sequence[float]) -> float:
    """The arithmetic mean."""
    return sum(values) / len(values)


def median(values: Sequence[float]) -> float:
    """The middle one."""
    return sorted(values)[len(values) // 2]


def drawn(data: beir.Dataset, count: int) -> list[str]:
    """So many of the answerable queries, the same each time."""
    return random.Random(SEED).sample(data.answerable, min(count, len(data.answerable)))


async def run(
    addresses: tuple[str, str], sets: Sequence[beir.Dataset], queries: int, by_llm: int
) -> dict[str, Any]:
    """All sets, all ways."""
    channels = [grpc_client.channel(address, max_message_mb=64) for address in addresses]
    sources = Sources(channels[0], channels[1], Timeouts(TIMEOUT_S, TIMEOUT_S))
    results: dict[str, Any] = {}
    for data in sets:
        results[data.name] = await measure(sources, data, drawn(data, queries), WAYS, loaded(""))
        show(data.name, results[data.name])
        if by_llm:
            few = await measure(sources, data, drawn(data, by_llm), BY_LLM, loaded("llamacpp"))
            results[f"{data.name}, LLM"] = few
            show(f"{data.name}, with an LLM", few)
    for channel in channels:
        await channel.close()
    return results


def main(
    folder: Annotated[Path, typer.Argument(help="A folder of sets in BEIR layout.")] = DEFAULT_DATA,
    sets: Annotated[list[str] | None, typer.Option(help="Names of sets in it.")] = None,
    queries: Annotated[int, typer.Option(help="Most queries a set.")] = 300,
    llm_queries: Annotated[int, typer.Option(help="Queries a set that the shipped model words, too.")] = 0,
    addresses: Annotated[
        str,
        typer.Option(help="gRPC of a retriever and a reranker that have the sets already: host:port,host:port."),
    ] = "",
    output: Annotated[Path, typer.Option(help="Where all goes, as JSON.")] = HERE / "results" / "expansion.json",
    keep: Annotated[Path | None, typer.Option(help="Where the documents stay for the next run.")] = None,
) -> None:
    """Put the sets in, search every way, rerank by the question itself, and print what came out."""
    read = [beir.read(folder / name) for name in sets or SETS]
    if addresses:
        one_, _, other = addresses.partition(",")
        results = asyncio.run(run((one_, other), read, queries, llm_queries))
    else:
        with place(keep) as data, Suite(data) as suite, suite.client(600) as client:
            for each in read:
                retrieval.ingest(client, each)
            told = suite.environment
            both = told["GENERATOR_RETRIEVER_ADDRESS"], told["GENERATOR_RERANKER_ADDRESS"]
            results = asyncio.run(run(both, read, queries, llm_queries))
    output.parent.mkdir(parents=True, exist_ok=True)
    output.write_text(json.dumps(results, indent=1))


if __name__ == "__main__":
    typer.run(main)
