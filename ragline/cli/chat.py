"""``ragline ask`` and ``ragline chat``: one question, or a conversation, answered as the answers are written."""

from __future__ import annotations

import sys
from typing import Annotated, Any

import typer
from rich.markup import escape

from ragline import settings as base
from ragline.cli.client import Client, Failure
from ragline.cli.options import Collection, Scorer, TopK
from ragline.cli.settings import Settings
from ragline.cli.terminal import STEERING, out, shown

app = typer.Typer()
NEW = "/new"
HELP = "Ask away; /new begins a new conversation, Ctrl-D ends."

Session = Annotated[
    str,
    typer.Option("--session", "-s", help="The conversation it belongs to: any id of letters, digits, - and _."),
]


@app.command()
def ask(
    question: str,
    collection: Collection = "default",
    top_k: TopK = 5,
    session: Session = "",
    scorer: Scorer = "",
) -> None:
    """Answer a question from the documents, with sources."""
    with Client(base.load(Settings).base_url) as suite:
        tell(suite, {"query": question, **wanted(collection, top_k, scorer)}, session)


@app.command()
def chat(collection: Collection = "default", top_k: TopK = 5, session: Session = "", scorer: Scorer = "") -> None:
    """Ask one question after the other; each is understood from those before it."""
    typed = sys.stdin.isatty()
    failed = False
    how = wanted(collection, top_k, scorer)
    with Client(base.load(Settings).base_url) as suite:
        session = session or begin(suite)
        if typed:
            out.print(HELP)
        while (line := heard(typed)) is not None:
            if line == NEW:
                session = begin(suite)
            elif line:
                failed = not answered(suite, {"query": line, **how}, session) or failed
    if failed and not typed:
        raise typer.Exit(1)


def wanted(collection: str, top_k: int, scorer: str) -> dict[str, Any]:
    """How each question is asked; what is not chosen is the service's choice."""
    return {"collection": collection, "top_k": top_k, **({"scorer": scorer} if scorer else {})}


def heard(typed: bool) -> str | None:
    """The next line; None at the end."""
    try:
        return input("> " if typed else "").strip()
    except (EOFError, KeyboardInterrupt):
        if typed:
            out.print()
        return None


def begin(suite: Client) -> str:
    """The id of a new conversation."""
    return str(suite.post("/sessions", {})["session_id"])


def answered(suite: Client, body: dict[str, Any], session: str) -> bool:
    """Print an answer, or why there is none: the conversation goes on. Ctrl-C gives up this answer only."""
    try:
        tell(suite, body, session)
    except Failure as failure:
        out.print(f"[red]ragline:[/red] {shown(str(failure))}")
        return False
    except KeyboardInterrupt:
        out.print()
    return True


def tell(suite: Client, body: dict[str, Any], session: str = "") -> None:
    """Print an answer as it is written, then its sources; raises Failure."""
    own = {"session_id": session} if session else {}
    for event, data in suite.events("/generate", {**body, **own, "stream": True}):
        if event == "token":
            sys.stdout.write(STEERING.sub("", data["text"]))
            sys.stdout.flush()
        elif event == "done":
            print_sources(data)


def print_sources(answer: dict[str, Any]) -> None:
    """The citations below a streamed answer."""
    out.print("\n" if answer["citations"] else "")
    for citation in answer["citations"]:
        page = f", page {citation['page']}" if citation.get("page") else ""
        quote = " ".join(citation["quote"].split())
        out.print(f"{escape(citation['marker'])} {shown(citation['document_id'])}{page}: “{shown(quote)}”")
    if answer["degraded"]:
        out.print(f"[yellow]went without: {', '.join(answer['degraded'])}[/yellow]")
