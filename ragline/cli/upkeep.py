"""``ragline collections``, ``verify`` and ``compact``: what there is, whether it agrees, room given back."""

from __future__ import annotations

import json
from contextlib import aclosing
from typing import Annotated, Any

import typer
from google.protobuf.json_format import MessageToDict
from google.protobuf.message import Message
from rich.table import Table

from ragline.cli.options import Json
from ragline.cli.retriever import Retriever, run
from ragline.cli.terminal import out, shown
from ragline.v1 import retriever_pb2 as pb

app = typer.Typer()
Address = Annotated[
    str, typer.Option("--retriever", help="The retriever's gRPC, host:port; that of `ragline up` by default.")
]
Tenant = Annotated[str, typer.Option("--tenant", help="Only this tenant's.")]
Collection = Annotated[str, typer.Option("--collection", "-c", help="Only this collection.")]


@app.command()
def collections(tenant: Tenant = "", as_json: Json = False, retriever: Address = "") -> None:
    """Show what there is: each collection, how large it is and how it is searched."""

    async def ask(opened: Retriever) -> list[pb.CollectionState]:
        return await opened.states(tenant)

    states = run(ask, retriever)
    if as_json:
        typer.echo(json.dumps([plain(state) for state in states]))
    elif states:
        out.print(table(states))
    else:
        out.print("There is no collection yet.")


@app.command()
def verify(
    mend: Annotated[bool, typer.Option("--mend", help="Build anew what does not agree, remove orphans.")] = False,
    tenant: Tenant = "",
    collection: Collection = "",
    as_json: Json = False,
    retriever: Address = "",
) -> None:
    """Compare the record with itself and its indexes, which serve on; status 1 where something is wrong."""

    async def ask(opened: Retriever) -> list[pb.Finding]:
        async with aclosing(opened.verify(tenant, collection, mend=mend)) as findings:
            return [finding async for finding in findings]

    findings = run(ask, retriever)
    if as_json:
        typer.echo(json.dumps([plain(finding) for finding in findings]))
    for finding in [] if as_json else findings:
        sign = "[green]mended[/green]" if finding.mended else "[red]✗[/red]"
        of = "/".join(filter(None, (finding.tenant, finding.collection)))
        out.print(f"{sign} {finding.part}{f' of {shown(of)}' if of else ''}: {shown(finding.what)}")
    if not findings and not as_json:
        out.print("[green]✓[/green] the record and its indexes agree")
    if any(not finding.mended for finding in findings):
        raise typer.Exit(1)


@app.command()
def compact(
    tenant: Tenant = "", collection: Collection = "", as_json: Json = False, retriever: Address = ""
) -> None:
    """Give back the room of what was deleted; searches and writes go on."""

    async def ask(opened: Retriever) -> pb.CompactResponse:
        return await opened.compact(tenant, collection)

    done = run(ask, retriever)
    if as_json:
        typer.echo(json.dumps(plain(done)))
    else:
        out.print(f"{done.bytes_before / 1e6:,.1f} MB before, {done.bytes_after / 1e6:,.1f} MB after")


def table(states: list[pb.CollectionState]) -> Table:
    """The collections for people."""
    names = ("tenant", "collection", "documents", "passages", "dead", "generation", "dense", "MB", "embedder")
    made = Table(*names, box=None)
    for column in made.columns[2:6] + made.columns[7:8]:
        column.justify = "right"
    for state in states:
        recall = f" {state.recall:.3f}" if state.HasField("recall") else ""
        following = f", {state.staged} staged for {state.next_fingerprint}" if state.next_fingerprint else ""
        made.add_row(
            *(shown(state.tenant), shown(state.collection), f"{state.documents:,}", f"{state.passages:,}"),
            *(f"{state.dead_passages:,}", str(state.generation), f"{state.dense_tier}{recall}"),
            *(f"{state.dense_bytes / 1e6:,.1f}", shown(f"{state.fingerprint}{following}")),
        )
    return made


def plain(message: Message) -> dict[str, Any]:
    """A message for machines: every field, numbers as numbers."""
    made = MessageToDict(message, preserving_proto_field_name=True, always_print_fields_with_no_presence=True)
    numbers = {field.name for field in message.DESCRIPTOR.fields if field.cpp_type == field.CPPTYPE_UINT64}
    return {name: int(value) if name in numbers else value for name, value in made.items()}
