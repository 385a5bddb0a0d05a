"""``ragline backup``, ``restore`` and ``migrate``: all that a retriever holds, to a file, from it, or across."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from contextlib import aclosing, contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated

import typer
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from ragline.cli.backup_file import Backup, Writing
from ragline.cli.client import Failure
from ragline.cli.options import Json
from ragline.cli.replay import Choice, FromFile, FromRetriever, Origin, Replayed, Tell, replay
from ragline.cli.retriever import Retriever, run
from ragline.cli.terminal import out, shown
from ragline.cli.upkeep import Address, Collection, Tenant
from ragline.v1.retriever_pb2 import CollectionState, ExportedEnd

app = typer.Typer()
Into = Annotated[str, typer.Option("--into", help="Another name for the one collection that --collection names.")]


@app.command()
def backup(
    file: Annotated[Path, typer.Argument(help="Where it goes; what is there stays until the new one is whole.")],
    tenant: Tenant = "",
    collection: Collection = "",
    as_json: Json = False,
    retriever: Address = "",
) -> None:
    """Write what the retriever holds, all of one moment, to a file; searches and writes go on."""
    about = {"made": datetime.now(UTC).isoformat(), "tenant": tenant, "collection": collection}
    ends: list[ExportedEnd] = []

    async def write(opened: Retriever) -> int:
        states = await opened.states(tenant, collection)
        if not states:
            raise Failure(f"There is nothing to back up at {opened.address}.")
        done = 0
        with progress(states, "writing") as tell, Writing(file, about) as writing:
            async with aclosing(opened.export(tenant, collection)) as parts:
                async for part in parts:
                    writing.add(part)
                    done += part.HasField("document")
                    tell(done)
                    if part.HasField("end"):
                        ends.append(part.end)
        return writing.bytes

    size = run(write, retriever)
    documents, passages = sum(end.documents for end in ends), sum(end.passages for end in ends)
    if as_json:
        said = {"collections": len(ends), "documents": documents, "passages": passages, "bytes": size}
        typer.echo(json.dumps(said))
    else:
        out.print(f"{documents:,} documents of {len(ends)} collections, {size / 1e6:,.1f} MB, {shown(str(file))}")


@app.command()
def restore(
    file: Annotated[Path, typer.Argument(help="What `ragline backup` wrote.")],
    collection: Collection = "",
    into: Into = "",
    tenant: Tenant = "",
    as_json: Json = False,
    retriever: Address = "",
) -> None:
    """Make collections what they are in a backup: what was written before goes, what is written meanwhile stays.

    It may be done again, after whatever interrupted it; documents that are as in the backup are left alone.
    """
    if into and not collection:
        raise Failure("--into is another name for one collection; say which with --collection.")
    origin = FromFile(Backup(file))
    choice = Choice(tenant, collection, into)
    tell_all(run(lambda opened: replayed(origin, opened, choice), retriever), str(file), as_json)


@app.command()
def migrate(
    source: Annotated[str, typer.Option("--from", help="The gRPC of the retriever that has it, host:port.")],
    target: Annotated[str, typer.Option("--to", help="The gRPC of the retriever that is to have it, host:port.")],
    collection: Collection = "",
    into: Into = "",
    tenant: Tenant = "",
    as_json: Json = False,
) -> None:
    """Copy collections from one retriever to another, whatever store each has, and compare both in the end."""
    if into and not collection:
        raise Failure("--into is another name for one collection; say which with --collection.")
    choice = Choice(tenant, collection, into)

    async def copy(left: Retriever, right: Retriever) -> list[Replayed]:
        return await replayed(FromRetriever(left), right, choice)

    tell_all(run(copy, source, target), source, as_json)


async def replayed(origin: Origin, target: Retriever, choice: Choice) -> list[Replayed]:
    """Write the chosen collections, showing how far it is; raises Failure where there is none."""
    states = await origin.states(choice)
    if not states:
        raise Failure("It holds no such collection.")
    with progress(states, "writing") as tell:
        return await replay(origin, target, choice, tell)


@contextmanager
def progress(states: Sequence[CollectionState], what: str) -> Iterator[Tell]:
    """A bar over the documents of these collections."""
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    with Progress(*columns, console=out, transient=True, disable=not out.is_terminal) as shown_progress:
        bar = shown_progress.add_task(what, total=sum(state.documents for state in states))
        yield lambda done: shown_progress.update(bar, completed=done)


def tell_all(done: Sequence[Replayed], source: str, as_json: bool) -> None:
    """Say what became of each collection; status 1 where one is not what was read."""
    if as_json:
        typer.echo(json.dumps([vars(each) for each in done]))
    for each in [] if as_json else done:
        name = shown(f"{each.tenant}/{each.collection}")
        out.print(
            f"{name}: {each.documents:,} documents, {each.passages:,} passages; "
            f"{each.written:,} written, {each.deleted:,} deleted"
        )
        for document, how in each.differing:
            out.print(f"  [red]✗[/red] {shown(document)} {how}")
    differences = sum(each.differences for each in done)
    if differences:
        raise Failure(
            f"{differences} documents are not as in {source}; if they were written meanwhile, that is right, "
            "and the same command makes them equal once nobody writes."
        )
    if not as_json:
        out.print("[green]✓[/green] counts and checksums agree")
