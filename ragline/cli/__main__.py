"""The commands; each is a few lines over a module of its own."""

from __future__ import annotations

import io
import os
import sys
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, DownloadColumn, Progress, TaskID, TextColumn

import ragline
from ragline import settings as base
from ragline.cli import backup as backups
from ragline.cli import batch as batches
from ragline.cli import chat as chats
from ragline.cli import doctor as doctors
from ragline.cli import eval as evals
from ragline.cli import feedback as feedbacks
from ragline.cli import files as sources
from ragline.cli import ingest as ingests
from ragline.cli import queue as queues
from ragline.cli import reembed as reembeds
from ragline.cli import reranker as rerankers
from ragline.cli import upkeep
from ragline.cli.client import Client, Failure
from ragline.cli.options import Collection, Scorer, TopK
from ragline.cli.settings import Settings
from ragline.cli.terminal import out, shown
from ragline.models import ModelStore

app = typer.Typer(no_args_is_help=True, add_completion=False, help="Ask questions of your own documents.")
models = typer.Typer(no_args_is_help=True, help="The model weights on this machine.")
app.add_typer(models, name="models")
app.add_typer(queues.app, name="queue")
app.add_typer(rerankers.app, name="reranker")
app.add_typer(evals.app, name="eval")
app.add_typer(chats.app)
app.add_typer(feedbacks.app, name="feedback")
app.add_typer(upkeep.app)
app.add_typer(backups.app)


def show_version(wanted: bool) -> None:
    """Print the version and end."""
    if wanted:
        out.print(f"ragline {ragline.__version__}")
        raise typer.Exit


@app.callback()
def common(
    version: Annotated[
        bool, typer.Option("--version", callback=show_version, is_eager=True, help="Show the version and exit.")
    ] = False,
) -> None:
    """Ask questions of your own documents."""


@app.command()
def up(
    host: Annotated[str | None, typer.Option(help="Address to listen on.")] = None,
    port: Annotated[int | None, typer.Option(help="Port to listen on.")] = None,
) -> None:
    """Start all services in one process, with one REST port."""
    for name, value in (("RAGLINE_HOST", host), ("RAGLINE_PORT", port)):
        if value is not None:
            os.environ[name] = str(value)
    os.environ.setdefault("GRPC_VERBOSITY", "ERROR")  # gRPC's core writes to stderr past every logger
    os.execv(sys.executable, [sys.executable, "-m", "services"])  # noqa: S606  # becomes the server: signals reach it


@app.command()
def ingest(
    paths: Annotated[list[Path], typer.Argument(help="Files, or folders to search.")],
    collection: Collection = "default",
) -> None:
    """Send documents and wait until they can be found; unchanged files are skipped."""
    files = sources.find(paths)
    if not files:
        raise Failure(
            f"No file to read in {', '.join(map(str, paths))}; known are {' '.join(sorted(sources.SUFFIXES))}."
        )
    with client() as suite:
        report = ingests.ingest(suite, collection, files, out)
    for document, reason in report.errors:
        out.print(f"[red]✗[/red] {shown(document)}: {shown(reason)}")
    out.print(f"{report.stored} in, {report.unchanged} unchanged, {len(report.errors)} failed")
    if report.errors:
        raise typer.Exit(1)


@app.command()
def search(
    query: str,
    collection: Collection = "default",
    top_k: TopK = 5,
    mode: Annotated[str, typer.Option(help="hybrid, dense, sparse or auto.")] = "hybrid",
    rerank: Annotated[bool, typer.Option(help="Let the reranker order the passages.")] = True,
    scorer: Scorer = "",
) -> None:
    """Show the passages that fit a query best."""
    body = {"query": query, "collection": collection, "top_k": top_k, "mode": mode, "rerank": rerank}
    with client() as suite:
        found = suite.post("/retrieve", body | ({"scorer": scorer} if scorer else {}))
    for number, passage in enumerate(found["passages"], 1):
        out.print(f"[bold]{number}. {shown(place(passage))}[/bold]  {passage['score']:.3f}")
        out.print(shown(passage["text"].strip()) + "\n")
    if not found["passages"]:
        out.print("Nothing found.")


@app.command()
def batch(
    requests: Annotated[
        Path, typer.Argument(help="A file of requests (JSONL), or the id of a batch sent before.")
    ],
    results: Annotated[Path | None, typer.Option("--out", "-o", help="Where the results go.")] = None,
) -> None:
    """Send many requests in one file, wait for them, and write their results."""
    sent_before = str(requests).startswith("batch-") and not requests.exists()
    target = results or Path(f"{requests.stem}.results.jsonl")
    with client() as suite:
        batch_id = str(requests) if sent_before else batches.send(suite, requests)
        view = batches.wait(suite, batch_id, out)
        batches.fetch(suite, batch_id, target)
    out.print(f"{view['state']}: {view['done']} of {view['total']}, {view['failed']} failed; {shown(str(target))}")
    if view["state"] != "done" or view["failed"]:
        raise typer.Exit(1)


@app.command()
def reembed(
    collection: Collection = "default",
    everything: Annotated[bool, typer.Option("--all", help="All collections that it is due for.")] = False,
    status: Annotated[
        bool, typer.Option("--status", help="Only tell what embeds what, and how far it is.")
    ] = False,
) -> None:
    """Change the embedder of a collection to PREPROCESS_NEXT_EMBEDDER; searches and writes go on."""
    with client() as suite:
        if status:
            reembeds.status(suite, out)
            return
        for name in reembeds.due(suite) if everything else [collection]:
            embedder = reembeds.reembed(suite, name, out)
            out.print(f"[green]✓[/green] {shown(name)} is searched by {shown(embedder)}")


@app.command()
def doctor() -> None:
    """Look at what the suite stands on and say what is wrong."""
    signs = {True: "[green]✓[/green]", False: "[red]✗[/red]", None: "[yellow]·[/yellow]"}
    findings = list(doctors.examine(settings()))
    for finding in findings:
        out.print(f"{signs[finding.fine]} {escape(finding.name)}: {escape(finding.detail)}")
    if any(finding.fine is False for finding in findings):
        raise typer.Exit(1)


@models.command("list")
def list_models() -> None:
    """The catalogue, and what of it is here."""
    for model in store().list():
        out.print(
            f"{model.id:24} {model.state:8} {model.size / 1e6:7.1f} MB  {model.licence:12} {escape(model.source)}"
        )


@models.command()
def pull(
    names: Annotated[list[str] | None, typer.Argument(help="Model ids; all, if none is given.")] = None,
) -> None:
    """Fetch model weights and check their hashes."""
    shelf = store()
    columns = (TextColumn("{task.description}"), BarColumn(), DownloadColumn())
    for name in names or [model.id for model in shelf.list()]:
        with Progress(*columns, transient=True, disable=not out.is_terminal) as progress:
            bar = progress.add_task(name, total=None)

            def show(done: int, total: int, progress: Progress = progress, bar: TaskID = bar) -> None:
                progress.update(bar, completed=done, total=total)

            folder = shelf.pull(name, show)
        out.print(f"[green]✓[/green] {name} in {folder}")


@models.command()
def verify(
    names: Annotated[list[str] | None, typer.Argument(help="Model ids; all, if none is given.")] = None,
) -> None:
    """Read every byte of the weights and compare hashes."""
    shelf = store()
    faults = [f"{name}: {fault}" for name in names or [m.id for m in shelf.list()] for fault in shelf.verify(name)]
    if faults:
        raise Failure(f"{'; '.join(faults)}. Run `ragline models pull` to fetch them again.")
    out.print("[green]✓[/green] all hashes agree")


def settings() -> Settings:
    """The command line's own settings."""
    return base.load(Settings)


def client() -> Client:
    """A client of the suite that the settings name."""
    return Client(settings().base_url)


def store() -> ModelStore:
    """The model weights on this machine."""
    return ModelStore(settings().models_dir)


def place(passage: dict[str, Any]) -> str:
    """Where a passage stands: document, and page if it has one."""
    page = f", page {passage['page']}" if passage.get("page") else ""
    return f"{passage['title'] or passage['document_id']} ({passage['document_id']}{page})"


def main() -> None:
    """The entry point: an expected failure is one sentence and exit status 1."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="replace")  # a terminal of few letters shows the rest
    try:
        app()
    except (Failure, base.SettingsError) as failure:
        Console(stderr=True, highlight=False, soft_wrap=True).print(f"[red]ragline:[/red] {shown(str(failure))}")
        sys.exit(failure.exit_status if isinstance(failure, Failure) else 1)


if __name__ == "__main__":
    main()
