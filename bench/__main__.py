"""Runs every measurement, or search at size alone, and prints one table."""

from __future__ import annotations

import asyncio
import sys
import tempfile
from pathlib import Path
from typing import Annotated

import typer

from bench import embed, faults, generate, ingest, nginx, streams
from bench.report import table
from bench.reranking import run as reranking
from bench.retrieval import making
from bench.retrieval import run as retrieval
from bench.retrieval.measuring import Plan
from bench.retrieval.peers import PEERS
from bench.retrieval.rows import LARGE
from ragline import threads
from ragline.encoder import Encoder
from ragline.models import ModelStore
from ragline.settings import Settings, load
from tests.servers.llama import LLAMA_KEY, LlamaServer
from tests.suite import Suite

PEERS_HELP = "Peers to run beside, by name; all where there are less than 500,000 passages, none above."

app = typer.Typer(add_completion=False)


@app.callback(invoke_without_command=True)
def everything(context: typer.Context) -> None:
    """Measure a suite of its own, then the search at size: what `make bench` runs."""
    if context.invoked_subcommand is not None:
        return
    rows = []
    folder = ModelStore(load(Settings).models_dir).path("all-MiniLM-L6-v2")
    with tempfile.TemporaryDirectory() as data, Suite(Path(data)) as suite, suite.client() as client:
        rows += embed.measure(Encoder.open(folder, threads=threads.available()), suite.port)
        rows.append(generate.measure(client))
        rows += nginx.measure(suite, Path(data) / "nginx")
    with tempfile.TemporaryDirectory() as data:
        rows += ingest.measure(Encoder.open(folder, threads=threads.available()), Path(data))
    with tempfile.TemporaryDirectory() as data:
        rows += reranking.measure(folder, Path(data))
    with tempfile.TemporaryDirectory() as data:
        rows += retrieval.quick(Path(data))
    print(f"\n{threads.available()} cores\n\n{table(rows)}")
    sys.exit(any(row.holds is False for row in rows))


@app.command("reranker")
def rerankings() -> None:
    """Reranking beside PyTorch's cross-encoder, and what keeping token vectors costs."""
    folder = ModelStore(load(Settings).models_dir).path("all-MiniLM-L6-v2")
    with tempfile.TemporaryDirectory() as data:
        rows = reranking.measure(folder, Path(data))
    print(f"\n{threads.available()} cores\n\n{table(rows)}")
    sys.exit(any(row.holds is False for row in rows))


@app.command("streams")
def at_once(
    clients: Annotated[int, typer.Option(min=10, help="Streams at once.")] = 100,
    max_tokens: Annotated[int, typer.Option(min=1, help="Most tokens of an answer.")] = 24,
    slots: Annotated[int, typer.Option(min=1, help="Answers that the LLM writes at once.")] = 4,
    style: Annotated[str, typer.Option(help="How the LLM is asked: passages, extract.")] = "passages",
) -> None:
    """Many streams at once on the embedded LLM: whole, fair, within fixed memory."""
    with tempfile.TemporaryDirectory() as data:
        rows = streams.measure(Path(data), streams.Plan(clients, max_tokens, slots, style))
    print(f"\n{threads.available()} cores\n\n{table(rows)}")
    sys.exit(any(row.holds is False for row in rows))


@app.command("retrieval")
def at_size(
    passages: Annotated[int, typer.Option(help="Passages: real texts first, then mixtures of them.")] = 100_000,
    peers: Annotated[str | None, typer.Option(help=PEERS_HELP)] = None,
    rounds: Annotated[int, typer.Option(help="Rounds over all queries.")] = 5,
    seconds: Annotated[float, typer.Option(help="Seconds of each load.")] = 4.0,
) -> None:
    """Search at size beside the bare engines and other projects."""
    chosen = ",".join(PEERS if passages < LARGE else ()) if peers is None else peers
    names = [name for name in chosen.split(",") if name]
    if unknown := set(names) - PEERS.keys():
        raise typer.BadParameter(f"{', '.join(unknown)}; there are {', '.join(PEERS)}", param_hint="--peers")
    rows, engines = retrieval.whole(making.corpus(passages), names, Plan(rounds, seconds))
    retrieval.show(rows, engines)
    sys.exit(any(row.holds is False for row in rows))


@app.command("faults")
def failing() -> None:
    """What clients of /generate see of each way in which an LLM's server fails."""
    weights = ModelStore(load(Settings).models_dir).pull("SmolLM2-135M-Instruct")
    with LlamaServer(next(weights.glob("*.gguf")), key=LLAMA_KEY) as server:
        lines = asyncio.run(faults.measure(server))
    print(f"\n{faults.table(lines)}")
    sys.exit(not faults.holds(lines))


if __name__ == "__main__":
    app()
