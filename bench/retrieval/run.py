"""One run: the service, the bare engines and the peers over one corpus, and what came of it."""

from __future__ import annotations

import asyncio
import json
import tempfile
from dataclasses import asdict
from pathlib import Path
from typing import Any

from bench.report import Row, table
from bench.retrieval import invented, peers, rows, starting
from bench.retrieval.corpus import Corpus
from bench.retrieval.measuring import BARE, DEPTHS, FLAT, NEAREST, SERVICE, WORDS, Field, Figures, Plan, asked
from ragline import threads

RESULTS = Path(__file__).parents[1] / "results"
THREADS = (1, 2, 4)
FILTERED = 50  # queries of each filter
QUICK = 100_000
SERVED = "bench.retrieval.probes:Probed"


def quick(folder: Path, passages: int = QUICK) -> list[Row]:
    """Hybrid search against the bare engines on an invented corpus: no data, no model, no peers."""
    corpus = invented.make(folder / "corpus", passages, 60)
    with Field(corpus, folder, Plan(rounds=3)) as field:
        dense = line_up(field, folder / "data")
        field.race(DEPTHS)
        return rows.speed(field, dense)[:1]


def whole(corpus: Corpus, names: list[str], plan: Plan) -> tuple[list[Row], str]:
    """Everything, with these peers; the rows, and the table of all engines."""
    cores = threads.available()
    with tempfile.TemporaryDirectory() as place, Field(corpus, Path(place), plan) as field:
        folder = Path(place)
        dense = line_up(field, folder / "data")
        if FLAT not in field.hosts:
            field.add(FLAT, BARE["exact"][1])
        beside = [name for name in names if joined(field, name)]
        field.race(DEPTHS)
        field.crowd()
        told = alone(field, dense, cores)
        for name in beside:
            told += rows.against(field, name)
        engines = rows.engines(field)
        field.hosts[SERVICE].call("close")
        started = asyncio.run(starting.measure(corpus, folder / "data", folder))
        told += rows.standing(started, len(corpus.vectors))
        keep(field, told)
    return told, f"{corpus.about['origin']}, {len(corpus.queries)} queries, {cores} cores\n\n{engines}"


def joined(field: Field, name: str) -> bool:
    """Whether a peer could be installed and has taken the corpus in; says why where not."""
    try:
        field.add(name, peers.install()[name], python=str(peers.python()))
    except (KeyError, RuntimeError) as error:
        print(f"  {name} is left out: {error}", flush=True)
        return False
    return True


def line_up(field: Field, data: Path) -> str:
    """Start the service and the engines bare: FAISS with the index that the service came to. Returns its name."""
    service = field.add(SERVICE, SERVED, data)
    state = service.call("state")
    dense, engine = BARE[state["tier"]]
    bare = field.add(dense, engine)
    if state["ef"]:
        bare.call("widen", width=state["ef"])
    field.add(WORDS, "bench.retrieval.engines:Tantivy")
    print(f"  the service searches vectors by {state}", flush=True)
    return dense


def alone(field: Field, dense: str, cores: int) -> list[Row]:
    """What is asked of the service, with the bare engines for comparison."""
    service, bare, words = (field.hosts[name] for name in (SERVICE, dense, WORDS))
    queries = len(field.corpus.queries)
    near = asked(service, list(range(queries)), 10, field.plan.patience, mode="dense")
    field.figures[NEAREST] = Figures(ms=near["ms"], found=dict(enumerate(near["found"])))
    counts = [count for count in THREADS if count <= max(cores, 2)]
    load: dict[str, Any] = {"clients": 32, "seconds": field.plan.seconds, "queries": queries}
    grown = {count: service.call("with_threads", count=count, **load) for count in counts}
    ceiling = {count: words.call("load", **load | {"clients": count})["per_second"] for count in counts}
    batches = [host.call("batch", threads=cores) for host in (bare, words)]
    service.call("search_with", count=cores)
    return [
        *rows.speed(field, dense),
        rows.grown(grown, ceiling, cores),
        rows.batched(service.call("batch"), *batches),
        *rows.selective(service.call("filtered", queries=min(FILTERED, queries))),
        *rows.seen(service.call("visible")),
    ]


def keep(field: Field, told: list[Row]) -> None:
    """Write every figure down."""
    RESULTS.mkdir(exist_ok=True)
    engines = {name: asdict(figures) for name, figures in field.figures.items()}
    file = RESULTS / f"retrieval-{len(field.corpus.vectors)}.json"
    file.write_text(
        json.dumps({"about": field.corpus.about, "rows": [asdict(row) for row in told], "engines": engines})
    )


def show(told: list[Row], engines: str) -> None:
    """Print both tables."""
    print(f"\n{engines}\n\n{table(told)}")
