"""``ragline eval``: measures, on anybody's judged questions, whether something helps."""

from __future__ import annotations

import importlib
import signal
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType
from typing import Annotated

import typer
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn, TimeElapsedColumn

from ragline import settings as base
from ragline.cli.client import Failure
from ragline.cli.ingest import Interrupted
from ragline.cli.settings import Settings
from ragline.cli.terminal import out, shown
from ragline.evaluation import EvaluationError, beir, report
from ragline.evaluation.asked import FORMS, NONE, parse_all
from ragline.evaluation.comparing import Wishes, compare
from ragline.evaluation.figures import worse
from ragline.evaluation.report import Comparison

WIDTH = 160  # of the tables where the output is no terminal

app = typer.Typer(no_args_is_help=True, help="Measure on judged questions whether something helps.")


@app.callback()
def common() -> None:
    """Measure on judged questions whether something helps."""


@app.command()
def reranker(  # noqa: PLR0913, PLR0917 - each is an option of the command line
    scorers: Annotated[list[str], typer.Argument(help=f"What to compare, the reference first: {FORMS}.")],
    data: Annotated[list[Path], typer.Option("--data", "-d", help="A folder in BEIR layout; more than once.")],
    queries: Annotated[int, typer.Option(min=0, help="Most queries of a set; 0: all.")] = 1000,
    candidates: Annotated[int, typer.Option(min=1, max=1000, help="Passages to order, of each query.")] = 50,
    split: Annotated[str, typer.Option(help="The judgements, qrels/SPLIT.tsv.")] = "test",
    seed: Annotated[int, typer.Option(min=0, help="Which queries are drawn, and the bootstrap's draws.")] = 0,
    output: Annotated[
        Path | None, typer.Option("--output", "-o", help="Folder for Markdown, JSON and a plot (SVG, PNG).")
    ] = None,
    keep: Annotated[
        Path | None, typer.Option(help="Folder that keeps the documents, so that the next run is quick.")
    ] = None,
    cold: Annotated[bool, typer.Option("--cold", help="As if no passage's token vectors were kept.")] = False,
    calibrate: Annotated[
        bool, typer.Option("--calibrate", help="Fit each scorer's RERANKER_CALIBRATION on half of the queries.")
    ] = False,
    gate: Annotated[
        float | None,
        typer.Option(min=0, help="Fail where the last scorer loses more nDCG@10 than this, by more than chance."),
    ] = None,
    timeout: Annotated[float, typer.Option(min=1, help="Seconds that one call may take.")] = 300.0,
) -> None:
    """Have scorers order the same candidates of judged queries, and tell by how much they differ."""
    drawing = plotting(output) if output else None
    wishes = Wishes(queries, candidates, seed, cold, calibrate, timeout)
    try:
        every = parse_all(scorers)
        sets = [beir.read(path, split) for path in data]
        with place(keep) as folder, heeding_sigterm(), Bars() as bars:
            models = base.load(Settings).models_dir
            comparison = compare(every, sets, wishes, folder, models, bars.show)
    except EvaluationError as error:
        raise Failure(str(error)) from error
    except KeyboardInterrupt:
        raise Interrupted("Stopped; what --keep names holds the documents that are in.") from None
    tell(comparison)
    if output is not None and drawing is not None:
        write(comparison, output, drawing)
    if gate is not None:
        check(comparison, comparison.labels[len(scorers) - 1], gate)


def plotting(folder: Path) -> ModuleType:
    """What draws, and the folder for it, before anything that takes long; raises Failure where one is missing."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        return importlib.import_module("ragline.evaluation.plot")
    except ModuleNotFoundError as error:
        raise Failure(
            f"--output draws a plot, which needs {error.name}: pip install 'ragline[eval]', or leave --output out."
        ) from error
    except OSError as error:
        raise Failure(f"{folder} cannot be written to: {error.strerror or error}.") from error


@contextmanager
def place(keep: Path | None) -> Iterator[Path]:
    """The folder to keep, or one that is gone afterwards."""
    if keep is not None:
        yield keep
        return
    with tempfile.TemporaryDirectory(prefix="ragline-eval-") as folder:
        yield Path(folder)


@contextmanager
def heeding_sigterm() -> Iterator[None]:
    """SIGTERM ends as Ctrl-C does, so that no process is left behind."""
    before = signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


class Bars:
    """A progress bar for each thing that takes long."""

    def __init__(self) -> None:
        columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
        self.progress = Progress(*columns, console=Console(stderr=True))
        self.tasks: dict[str, TaskID] = {}

    def __enter__(self) -> Bars:
        self.progress.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.progress.stop()

    def show(self, what: str, done: int, total: int) -> None:
        """So many are done."""
        if what not in self.tasks:
            self.tasks[what] = self.progress.add_task(shown(what), total=total)
        self.progress.update(self.tasks[what], completed=done, total=total)


def tell(comparison: Comparison) -> None:
    """Print the tables and what has to be known beside them."""
    wide = out if out.is_terminal else Console(width=WIDTH, highlight=False)
    for table in report.tables(comparison):
        wide.print(table)
        wide.print()
    for remark in report.remarks(comparison):
        out.print(f"[yellow]![/yellow] {shown(remark)}")
    for label, found in comparison.calibrations.items():
        out.print("\n".join(shown(line) for line in report.calibrated(label, found)) + "\n")


def write(comparison: Comparison, folder: Path, drawing: ModuleType) -> None:
    """The files."""
    (folder / "reranker.md").write_text(report.markdown(comparison))
    (folder / "reranker.json").write_bytes(report.as_json(comparison))
    paths = [folder / "reranker.md", folder / "reranker.json", *drawing.draw(comparison, folder)]
    out.print(f"wrote {', '.join(shown(str(path)) for path in paths)}")


def check(comparison: Comparison, last: str, gate: float) -> None:
    """End with status 1 where the last scorer is worse than is allowed."""
    reason = worse(next(row for row in comparison.overall() if row.scorer == last), gate)
    if reason:
        out.print(f"[red]✗[/red] {shown(reason)}")
        raise typer.Exit(1)
    other = NONE if last == comparison.reference else comparison.reference
    out.print(f"[green]✓[/green] {shown(last)} is not worse than {shown(other)} by what --gate forbids")
