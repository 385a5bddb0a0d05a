"""``ragline reranker``: which scorers are loaded, and swapping them on all replicas while they serve."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Annotated, Any
from urllib.parse import quote

import orjson
import typer
from rich.table import Table

from ragline import settings as base
from ragline.cli.client import Failure
from ragline.cli.options import Json
from ragline.cli.replicas import Replica, each, failures, find
from ragline.cli.settings import Settings
from ragline.cli.terminal import out, shown

PATH = "/admin/reranker"

app = typer.Typer(no_args_is_help=True, help="The reranker's scorers: look, swap, go back, try on a share.")
Scorer = Annotated[
    str, typer.Argument(help="A file's name or a module:Class; left out, --name is one that is loaded.")
]
Option = Annotated[
    list[str] | None, typer.Option("--option", "-o", help="name=value for the scorer; can be repeated.")
]
Name = Annotated[str, typer.Option(help="What requests call it.")]
Share = Annotated[float, typer.Option(min=0.0, max=1.0, help="The part of the requests that it gets.")]
Probe = Annotated[bool, typer.Option(help="Try it on questions with known answers.")]
Address = Annotated[
    str,
    typer.Option(
        "--address", help="http://host:port, or several with commas; as RAGLINE_RERANKER_URL by default."
    ),
]


@app.command()
def status(address: Address = "", as_json: Json = False) -> None:
    """Show what serves, what else is loaded, and what was done lately."""
    replicas = found(address)
    states = each(replicas, lambda replica: replica.ask("GET", PATH))
    if as_json:
        typer.echo(json.dumps([record(*pair) for pair in zip(replicas, states, strict=True)]))
    else:
        for replica, state in zip(replicas, states, strict=True):
            if not isinstance(state, Failure):
                print_state(replica, state)
    refuse(failures(replicas, states))


@app.command()
def use(
    scorer: Scorer = "",
    option: Option = None,
    name: Name = "",
    probe: Probe = True,
    address: Address = "",
    as_json: Json = False,
) -> None:
    """Load a scorer everywhere, and once all replicas find it good let it serve."""
    swap(address, order(scorer, option, name, probe=probe), {"role": "serve"}, as_json=as_json)


@app.command()
def canary(
    scorer: Scorer = "",
    option: Option = None,
    name: Name = "",
    share: Share = 0.05,
    probe: Probe = True,
    address: Address = "",
    as_json: Json = False,
) -> None:
    """Let a scorer answer a share of the requests."""
    swap(address, order(scorer, option, name, probe=probe), {"role": "canary", "share": share}, as_json=as_json)


@app.command()
def shadow(
    scorer: Scorer = "",
    option: Option = None,
    name: Name = "",
    share: Share = 0.1,
    judge: Annotated[str, typer.Option(help="A loaded scorer that says whose order is better.")] = "",
    address: Address = "",
) -> None:
    """Let a scorer see a share of the requests without being heard."""
    role = {"role": "shadow", "share": share} | ({"judge": judge} if judge else {})
    swap(address, order(scorer, option, name, probe=True), role, as_json=False)


@app.command()
def back(address: Address = "", as_json: Json = False) -> None:
    """Let the scorer before the last switch serve again."""
    everywhere(found(address), "POST", f"{PATH}/back", as_json=as_json)


@app.command()
def promote(address: Address = "", as_json: Json = False) -> None:
    """Let the canary serve everybody."""
    everywhere(found(address), "POST", f"{PATH}/promote", as_json=as_json)


@app.command()
def stop(
    what: Annotated[str, typer.Argument(help="canary, shadow, or the name of a scorer to unload.")],
    address: Address = "",
    as_json: Json = False,
) -> None:
    """End a trial, or unload a scorer that has no role."""
    path = f"{PATH}/{what}" if what in {"canary", "shadow"} else f"{PATH}/loaded/{quote(what, safe='')}"
    everywhere(found(address), "DELETE", path, as_json=as_json)


def found(address: str) -> list[Replica]:
    """The replicas at the address, or where the settings say."""
    settings = base.load(Settings)
    token = settings.reranker_token
    return find(address or settings.reranker_url or settings.base_url, token.get_secret_value() if token else "")


def order(scorer: str, option: Sequence[str] | None, name: str, *, probe: bool) -> dict[str, Any]:
    """What to load, as the door takes it; raises Failure."""
    if not scorer and not name:
        raise Failure("Say which scorer to load, or with --name which of those that are loaded.")
    body: dict[str, Any] = {"probe": probe}
    if scorer:
        body |= {"scorer": scorer, "options": dict(map(parsed, option or ()))}
    elif option:
        raise Failure("Options belong to a scorer that is loaded now; name it.")
    return body | ({"name": name} if name else {})


def parsed(option: str) -> tuple[str, Any]:
    """The name and the value of an option: JSON, or the text itself where it is none."""
    name, separator, value = option.partition("=")
    if not separator or not name:
        raise Failure(f"{option!r} is no option; write it as name=value.")
    try:
        return name, orjson.loads(value)
    except orjson.JSONDecodeError:
        return name, value


def swap(address: str, body: dict[str, Any], role: dict[str, Any], *, as_json: bool) -> None:
    """Load on every replica, and only when all have it give it its role; else take it away again everywhere."""
    replicas = found(address)
    loading = body | {"role": "load"}
    loaded = each(replicas, lambda replica: replica.ask("POST", PATH, loading))
    new = "scorer" in body
    if faults := failures(replicas, loaded):
        refuse(faults + (undone(replicas, loaded, "unload") if new else []))
    names = {replica: event["name"] for replica, event in zip(replicas, loaded, strict=True)}  # type: ignore[index]  # none failed
    given = each(
        replicas, lambda replica: replica.ask("POST", PATH, {"name": names[replica], "probe": False} | role)
    )
    if faults := failures(replicas, given):
        faults += undone(replicas, given, role["role"])
        left = [event if isinstance(done, Failure) else done for event, done in zip(loaded, given, strict=True)]
        refuse(faults + (undone(replicas, left, "unload") if new else []))
    tell(replicas, loaded, role["role"], as_json=as_json)


def undone(replicas: Sequence[Replica], results: Sequence[Any], role: str) -> list[str]:
    """Undo a role on the replicas that have it; a sentence for each where that fails."""
    done = [
        (replica, event)
        for replica, event in zip(replicas, results, strict=True)
        if not isinstance(event, Failure)
    ]
    if not done:
        return []
    names = {replica: event["name"] for replica, event in done}

    def undo(replica: Replica) -> dict[str, Any]:
        match role:
            case "serve":
                return replica.ask("POST", f"{PATH}/back")
            case "unload":
                return replica.ask("DELETE", f"{PATH}/loaded/{names[replica]}")
            case trial:
                return replica.ask("DELETE", f"{PATH}/{trial}")

    there = list(names)
    return [f"{fault} (while undoing)" for fault in failures(there, each(there, undo))]


def everywhere(replicas: Sequence[Replica], method: str, path: str, *, as_json: bool) -> None:
    """Ask all replicas the same; those that refuse are named in the end."""
    events = each(replicas, lambda replica: replica.ask(method, path))
    tell(replicas, events, "", as_json=as_json)
    refuse(failures(replicas, events))


def refuse(faults: Sequence[str]) -> None:
    """Raise Failure that names what went wrong where, if anything did."""
    if faults:
        raise Failure("; ".join(faults))


def tell(replicas: Sequence[Replica], events: Sequence[Any], role: str, *, as_json: bool) -> None:
    """Show what was done on each replica."""
    if as_json:
        typer.echo(json.dumps([record(*pair) for pair in zip(replicas, events, strict=True)]))
        return
    table = Table("replica", "scorer", "done", "right", "p50", "agrees", box=None, pad_edge=False)
    for replica, event in zip(replicas, events, strict=True):
        if not isinstance(event, Failure):
            did = role or event["action"]
            table.add_row(shown(replica.url), shown(event["name"]), did, *probed(event.get("probe")))
    if table.row_count:
        out.print(table)


def record(replica: Replica, result: Any) -> dict[str, Any]:
    """What a replica said, for machines."""
    said = {"error": str(result)} if isinstance(result, Failure) else result
    return {"replica": replica.url} | said


def probed(probe: dict[str, Any] | None) -> tuple[str, str, str]:
    """What the probe said, in three columns."""
    if probe is None:
        return "", "", ""
    agrees = "" if probe["agreement"] is None else f"{probe['agreement']:.0%}"
    return f"{probe['right']} of {probe['questions']}", f"{probe['p50_ms']:.1f} ms", agrees


def print_state(replica: Replica, state: dict[str, Any]) -> None:
    """What is loaded on a replica."""
    table = Table("scorer", "from", "role", "right", "p50", "agrees", box=None, pad_edge=False)
    before = (state["previous"] or {}).get("name")
    trials = {state[role]["name"]: role for role in ("canary", "shadow") if state[role]}
    for loaded in [state["serving"], *state["others"]]:
        role = "serves" if loaded is state["serving"] else trials.get(loaded["name"], "")
        role = role or ("served before" if loaded["name"] == before else "loaded")
        table.add_row(shown(loaded["name"]), shown(loaded["scorer"]), role, *probed(loaded.get("probe")))
    out.print(f"[bold]{shown(replica.url)}[/bold]")
    out.print(table)
    for event in state["history"][:5]:
        reason = f": {event['reason']}" if event.get("reason") else ""
        out.print(
            f"  {event['at']}  {event['action']} {shown(event['name'] or event['scorer'])}, "
            f"{event['outcome']}{shown(reason)}"
        )
    if not state["persists"]:
        out.print("Lasts until the process ends; to keep it set")
        for line in state["settings"]:
            out.print(f"  {shown(line)}")
