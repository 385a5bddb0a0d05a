"""What was measured as rows with limits, and as one table of all engines."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from bench.report import Row
from bench.retrieval.corpus import Corpus
from bench.retrieval.measuring import CLIENTS, FLAT, NEAREST, SERVICE, WORDS, Field, Figures, ratio
from bench.retrieval.starting import Started

LARGE = 500_000  # passages from which the limits for a million hold
NEAR = 0.97


def speed(field: Field, dense: str) -> list[Row]:
    """Hybrid search against the bare engines of this run."""
    passages = len(field.corpus.vectors)
    mine, bare, words = (field.figures[name] for name in (SERVICE, dense, WORDS))
    limit = 1.5 if passages >= LARGE else 1.3
    value = ratio(mine.rounds, [bare.rounds, words.rounds])
    detail = (
        f"p50 of hybrid {mine.p50:.2f} ms, {dense} {bare.p50:.2f}, tantivy {words.p50:.2f}; {passages:,} passages"
    )
    first = Row("search: hybrid p50 ÷ slower bare engine's", value, f"≤ {limit}", value <= limit, detail)
    recalls = f"{dense} bare {bare.recall(field.corpus):.3f}"
    found = field.figures.get(NEAREST)
    if found is None:
        return [first]
    return [first, at_least("search: recall@10 of dense search", found.recall(field.corpus), NEAR, recalls)]


def against(field: Field, name: str) -> list[Row]:
    """Against a peer: how many times as fast, and the difference in quality on the queries that it came to."""
    mine, peer = field.figures[SERVICE], field.figures[name]
    queries = sorted(peer.found)
    times = peer.p50 / mine.p50
    ours, theirs = mine.ndcg(field.corpus, queries), peer.ndcg(field.corpus, queries)
    detail = f"{name} {peer.p50:.1f} ms, hybrid {mine.p50:.2f} ms"
    graded = f"{ours:.3f} against {theirs:.3f} over {len(queries)} queries"
    return [
        at_least(f"search: {name}'s hybrid p50 ÷ ours", times, 10, detail),
        at_least(f"search: nDCG@10 of ours less {name}'s", ours - theirs, 0, graded),
    ]


def grown(per_second: Mapping[int, float], bare: Mapping[int, float], cores: int) -> Row:
    """Throughput of many threads against that of one."""
    most = max(per_second)
    told = ", ".join(f"{count}: {value:.0f}/s" for count, value in per_second.items())
    detail = f"threads {told}; tantivy bare {bare[most] / bare[1]:.2f}; {cores} cores"
    return at_least(f"search: throughput of {most} threads ÷ 1", per_second[most] / per_second[1], 2.5, detail)


def batched(seconds: float, dense: float, words: float) -> Row:
    """A thousand queries in one call against the engines' own batches."""
    value = seconds / (dense + words)
    detail = f"one call {seconds:.2f} s, FAISS's batch {dense:.2f} s, tantivy {words:.2f} s"
    return Row("search: 1,000 queries in a call ÷ bare batches", value, "≤ 1.5", value <= 1.5, detail)


def selective(filters: list[dict[str, Any]]) -> list[Row]:
    """Filters that let few through."""
    return [
        Row(
            f"search: recall@10 where {each['passages']:,} are allowed",
            each["recall"],
            "1.0, always 10",
            each["recall"] == 1 and each["fewest"] == 10 and not each["outside"],
            f"never fewer than {each['fewest']} results, {each['outside']} with others; p50 {each['p50']:.1f} ms",
        )
        for each in filters
    ]


def seen(visible: Mapping[str, float]) -> list[Row]:
    """What the first search after a write or a delete knew."""
    write = f"write {visible['write']:.1f} ms, and found {visible['found_ms']:.1f} ms after its call"
    delete = f"delete {visible['delete']:.1f} ms, and gone {visible['gone_ms']:.1f} ms after its call"
    return [
        at_least("search: written ones in the next search's answer", visible["found"], 1, write),
        at_least("search: deleted ones gone from the next search", visible["gone"], 1, delete),
    ]


def standing(told: Started, passages: int) -> list[Row]:
    """The retriever as a process of its own."""
    large = passages >= LARGE
    detail = f"{told.ready_mb:.0f} MB when ready, then {told.whole_mb:.0f}, {told.own_mb:.0f} of them its own"
    size = told.whole_mb / 1024
    return [
        bounded("search: start to ready in s", told.ready_s, 15 if large else None, f"{passages:,} passages"),
        bounded("search: memory in GB after 1,000 queries", size, 1.2 if large else None, detail),
        bounded("search: hybrid p50 over gRPC in ms", told.grpc_ms, None, "a process of its own"),
    ]


def at_least(name: str, value: float, limit: float, detail: str) -> Row:
    """A row that must reach its limit."""
    return Row(name, value, f"≥ {limit:g}", value >= limit, detail)


def bounded(name: str, value: float, limit: float | None, detail: str) -> Row:
    """A row that must not pass its limit, where it has one."""
    return Row(name, value, f"≤ {limit:g}" if limit else "", value <= limit if limit else None, detail)


def engines(field: Field) -> str:
    """All engines as a Markdown table."""
    heads = ["engine", "build s", "memory MB", "p50 ms", "p95 ms", *(f"{n} clients, q/s" for n in CLIENTS)]
    heads += ["nDCG@10", "recall@10"]
    lines = [heads, ["---"] * len(heads)]
    lines += [line(name, figures, field.corpus) for name, figures in field.figures.items()]
    return "\n".join(f"| {' | '.join(cells)} |" for cells in lines)


def line(name: str, figures: Figures, corpus: Corpus) -> list[str]:
    """An engine's cells; recall is that of nearest vectors, so only what searches by them alone has one."""
    built = [f"{figures.build_s:.1f}", f"{figures.memory_mb:.0f}"] if figures.build_s else ["", ""]
    cells = [name, *built, f"{figures.p50:.2f}", f"{figures.p95:.2f}"]
    loads = [f"{figures.loads[n]['per_second']:.1f}" if n in figures.loads else "" for n in CLIENTS]
    dense = name == NEAREST or name.startswith(FLAT.split()[0])
    recall = f"{figures.recall(corpus):.3f}" if dense else ""
    return [*cells, *loads, f"{figures.ndcg(corpus, sorted(figures.found)):.3f}", recall]
