"""Asks all engines the same, in turn and in one run, and keeps what each said."""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from bench.retrieval.corpus import DEPTH, Corpus
from bench.retrieval.hosting import Host
from bench.retrieval.probes import shared
from ragline.evaluation.metrics import ndcg

SERVICE = "service"
NEAREST = "service, vectors alone"
WORDS = "tantivy"
FLAT = "FAISS flat"
BARE = {
    "exact": (FLAT, "bench.retrieval.engines:Flat"),
    "sq8": ("FAISS SQ8", "bench.retrieval.engines:Quantised"),
    "hnsw": ("FAISS HNSW-SQ8", "bench.retrieval.engines:Graph"),
}
CLIENTS = (1, 8, 32)


@dataclass
class Figures:
    """What one engine came to. ``rounds``: the p50 of each round, in ms; ``found`` by query."""

    build_s: float = 0.0
    memory_mb: float = 0.0
    rounds: list[float] = field(default_factory=list)
    ms: list[float] = field(default_factory=list)
    found: dict[int, list[int]] = field(default_factory=dict)
    loads: dict[int, dict[str, float]] = field(default_factory=dict)

    @property
    def p50(self) -> float:
        """Median of all single queries, in ms."""
        return statistics.median(self.ms)

    @property
    def p95(self) -> float:
        """In ms."""
        return sorted(self.ms)[min(len(self.ms) - 1, int(len(self.ms) * 0.95))]

    def ndcg(self, corpus: Corpus, queries: Sequence[int]) -> float:
        """Mean nDCG@10 over those queries."""
        return statistics.fmean(
            ndcg([str(n) for n in self.found[query]], {str(n): g for n, g in corpus.grades[query].items()})
            for query in queries
        )

    def recall(self, corpus: Corpus) -> float:
        """Mean share of the ten exactly nearest that was found."""
        return statistics.fmean(
            shared(found[:10], corpus.nearest[n][:10].tolist()) for n, found in self.found.items()
        )


@dataclass(frozen=True)
class Plan:
    """How much is asked. ``seconds``: of each load; ``patience``: of a round of an engine that takes long."""

    rounds: int = 5
    seconds: float = 4.0
    patience: float = 20.0


class Field:
    """The engines that run, by name, and what was measured of each."""

    def __init__(self, corpus: Corpus, logs: Path, plan: Plan) -> None:
        self.corpus = corpus
        self.logs = logs
        self.plan = plan
        self.stack = ExitStack()
        self.hosts: dict[str, Host] = {}
        self.figures: dict[str, Figures] = {}

    def __enter__(self) -> Field:
        return self

    def __exit__(self, *error: object) -> None:
        self.stack.close()

    def add(self, name: str, engine: str, *folders: Path, **more: str) -> Host:
        """Start an engine and build its index."""
        log = self.logs / f"{len(self.hosts)}.log"
        host = self.stack.enter_context(Host(engine, self.corpus.folder, *folders, log=log, **more))
        print(f"  {name}: building", flush=True)
        self.figures[name] = Figures(build_s=host.call("build"), memory_mb=host.memory_mb())
        self.hosts[name] = host
        return host

    def race(self, depths: Mapping[str, int]) -> None:
        """Single queries: in each round those of ``depths`` answer all, others a part, as far as they come."""
        queries = list(range(len(self.corpus.queries)))
        for number in range(self.plan.rounds):
            for name, host in self.hosts.items():
                part = queries if name in depths else queries[number :: self.plan.rounds]
                told = asked(host, part, depths.get(name, 10), self.plan.patience)
                figures = self.figures[name]
                figures.ms += told["ms"]
                figures.rounds.append(statistics.median(told["ms"]))
                figures.found.update(zip(part, told["found"], strict=False))

    def crowd(self) -> None:
        """Many clients at once, the engines one after the other for each number of clients."""
        for clients in CLIENTS:
            for name, host in self.hosts.items():
                if clients * self.figures[name].p50 > self.plan.patience * 1000:
                    continue  # one query of each client alone would take longer
                self.figures[name].loads[clients] = host.call(
                    "load", clients=clients, seconds=self.plan.seconds, queries=len(self.corpus.queries)
                )


def asked(host: Host, queries: Sequence[int], depth: int, patience: float, **more: str) -> dict[str, list[Any]]:
    """The answers to the queries, or to as many of them as ``patience`` seconds are enough for."""
    first = host.call("ask", queries=queries[:1], depth=depth, **more)
    room = int(patience * 1000 / max(first["ms"][0], 0.001))
    rest = host.call("ask", queries=queries[1 : max(2, room)], depth=depth, **more)
    return {name: first[name] + rest[name] for name in ("ms", "found")}


def ratio(mine: Sequence[float], others: Sequence[Sequence[float]]) -> float:
    """The median over rounds of mine ÷ the largest of the others', so that a slow minute counts for both."""
    slowest = [max(times) for times in zip(*others, strict=True)]
    return float(statistics.median(a / b for a, b in zip(mine, slowest, strict=True)))


DEPTHS = {SERVICE: 10, WORDS: DEPTH, **{name: DEPTH for name, _ in BARE.values()}}
