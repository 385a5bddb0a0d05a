"""Measures search and answer quality of the shipped defaults on sets in BEIR layout, and prints tables."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any

import typer

from eval import answers, retrieval, table
from ragline.evaluation import beir
from ragline.evaluation.metrics import interval
from tests.suite import Suite

HERE = Path(__file__).parent
DEFAULT_DATA = HERE.parent.parent / "shared" / "data" / "eval"


def main(
    folders: Annotated[list[Path] | None, typer.Argument(help="Sets in BEIR layout, or a folder of such.")] = None,
    queries: Annotated[int, typer.Option(help="Most queries a set.")] = 1000,
    questions: Annotated[
        int, typer.Option(help="Answerable questions to ask where a set has gold answers.")
    ] = 200,
    impossible: Annotated[int, typer.Option(help="Unanswerable questions to ask, from SQuAD 2.0.")] = 100,
    only: Annotated[str, typer.Option(help="retrieval, answers, or both.")] = "both",
    output: Annotated[Path, typer.Option(help="Where the figures go, as JSON.")] = HERE / "results" / "eval.json",
    keep: Annotated[
        Path | None, typer.Option(help="Where the documents stay, so that the next run need not embed them again.")
    ] = None,
) -> None:
    """Start a suite, put each set in, search, ask, and print what came out."""
    sets = find_sets(folders or [DEFAULT_DATA])
    if not sets:
        raise typer.BadParameter(
            "no set in BEIR layout there; name folders with corpus.jsonl, queries.jsonl, qrels/"
        )
    figures: dict[str, Any] = {}
    with (
        place(keep) as folder,
        Suite(folder, retrieval.ENVIRONMENT) as suite,
        suite.client(600) as client,
    ):
        for path in sets:
            data = beir.read(path)
            retrieval.ingest(client, data)
            figure = figures.setdefault(data.name, {"documents": len(data.corpus)})
            if only != "answers":
                figure["retrieval"] = retrieval.measure(client, data, queries)
                print_retrieval(data.name, figure["retrieval"])
            if only != "retrieval" and sum(map(bool, data.gold.values())) >= questions:
                source = path.parent / "squad20-dev" / "dev-v2.0.json"
                unknown = answers.unanswerable(source, impossible) if source.exists() else []
                shares = answers.measure(client, data, unknown, questions)
                figure["answers"] = asdict(shares)
                print("".join(f"\n  {name:20} {value:.3f}" for name, value in asdict(shares).items()))
    print_table({name: figure["retrieval"] for name, figure in figures.items() if "retrieval" in figure})
    output.parent.mkdir(parents=True, exist_ok=True)
    output.write_text(json.dumps(figures, indent=1))


@contextmanager
def place(keep: Path | None) -> Iterator[Path]:
    """The folder to keep, or one that is gone afterwards."""
    if keep is not None:
        yield keep
        return
    with tempfile.TemporaryDirectory() as folder:
        yield Path(folder)


def find_sets(folders: list[Path]) -> list[Path]:
    """The sets among the folders and directly below them."""
    places = [place for folder in folders for place in (folder, *sorted(folder.glob("*")))]
    return [
        place for place in places if (place / "corpus.jsonl").exists() and (place / "qrels" / "test.tsv").exists()
    ]


def print_retrieval(name: str, systems: Mapping[str, Mapping[str, list[float]]]) -> None:
    """One row a system; the interval is of the nDCG difference to plain hybrid, paired by query."""
    print(f"\n{name} ({len(next(iter(systems.values()))['ndcg@10'])} queries)")
    base = systems["hybrid"]["ndcg@10"]
    for system, metrics in systems.items():
        means = "  ".join(f"{metric} {sum(values) / len(values):.3f}" for metric, values in metrics.items())
        low, high = interval([value - other for value, other in zip(metrics["ndcg@10"], base, strict=True)])
        print(f"  {system:20} {means}  vs hybrid [{low:+.3f}, {high:+.3f}]")


def print_table(sets: Mapping[str, table.Systems]) -> None:
    """All sets and systems, whether a joined mode costs what a single one had, and what reranking adds."""
    if not sets:
        return
    print(f"\n{table.markdown(sets)}\n")
    for name, measured in sets.items():
        for verdict in table.verdicts(measured):
            print(
                f"  {name:20} {verdict.system:7} - {verdict.single:7} {verdict.difference:+.3f} "
                f"[{verdict.low:+.3f}, {verdict.high:+.3f}]  at least -{table.ALLOWED[verdict.system]}: "
                f"{table.says(holds=verdict.holds)}"
            )
    print(f"\n{table.gained(sets)}")


if __name__ == "__main__":
    typer.run(main)
