"""``ragline feedback``: says whether an answer was any good, and makes data sets of what was said."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any, Literal

import httpx
import orjson
import typer

from ragline import settings as base
from ragline.cli.client import Client, Failure, refusal
from ragline.cli.settings import Settings
from ragline.cli.terminal import out, shown
from ragline.evaluation import feedback as datasets

app = typer.Typer(no_args_is_help=True, help="What people say of answers: give it, read it, learn from it.")

Collection = Annotated[str, typer.Option("--collection", "-c", help="Answers from this collection only.")]
Rated = Annotated[Literal["", "up", "down"], typer.Option("--rating", help="With this rating only.")]
Since = Annotated[str, typer.Option(help="Given at or after this date or time, in UTC.")]
Until = Annotated[str, typer.Option(help="Given before this date or time, in UTC.")]
Tenant = Annotated[str, typer.Option(help="Whose.")]


@app.command()
def give(
    answer_id: Annotated[str, typer.Argument(help="The id that the answer came with.")],
    rating: Annotated[Literal["up", "down"], typer.Argument(help="Whether it was any good.")],
    comment: Annotated[str, typer.Option(help="Why.")] = "",
    corrected: Annotated[str, typer.Option(help="What the answer should have been.")] = "",
    tag: Annotated[list[str] | None, typer.Option(help="To sort it by; can be repeated.")] = None,
) -> None:
    """Say whether an answer was any good."""
    body = {"answer_id": answer_id, "rating": rating, "comment": comment, "corrected_answer": corrected}
    with opened() as client:
        out.print(shown(client.post("/feedback", body | {"tags": tag or []})["id"]))


@app.command("list")
def listed(
    collection: Collection = "",
    rating: Rated = "",
    since: Since = "",
    until: Until = "",
    tenant: Tenant = "default",
) -> None:
    """Show what was said, oldest first, as JSON lines without the passages."""
    for vote in votes(chosen(collection, rating, since, until, tenant)):
        del vote["answer"]["passages"]
        typer.echo(orjson.dumps(vote))


@app.command()
def export(
    folder: Annotated[Path, typer.Argument(help="Where the files go.")],
    form: Annotated[
        Literal["beir", "jsonl", "preferences"],
        typer.Option("--format", help="Judged questions, answers to train on, or pairs of better and worse."),
    ] = "beir",
    collection: Collection = "",
    rating: Rated = "",
    since: Since = "",
    until: Until = "",
    tenant: Tenant = "default",
) -> None:
    """Make a data set; `ragline eval reranker --data FOLDER` reads the one in BEIR layout."""
    found = list(votes(chosen(collection, rating, since, until, tenant)))
    try:
        counts = datasets.write(form, found, folder)
    except OSError as error:
        raise Failure(f"{folder} cannot be written to: {error.strerror}.") from error
    for name, lines in counts.items():
        out.print(f"{shown(str(folder / name))}: {lines} lines")


def chosen(collection: str, rating: str, since: str, until: str, tenant: str) -> dict[str, str]:
    """The query of an export."""
    asked = {"collection": collection, "rating": rating, "since": since, "until": until, "tenant": tenant}
    return {name: value for name, value in asked.items() if value}


def opened() -> Client:
    """A client of the generator, with the token that it wants for reading."""
    settings = base.load(Settings)
    client = Client(settings.generator_url.rstrip("/") or settings.base_url)
    if settings.generator_token:
        client.http.headers["authorization"] = f"Bearer {settings.generator_token.get_secret_value()}"
    return client


def votes(query: dict[str, str]) -> Iterator[dict[str, Any]]:
    """All feedback that is asked for, oldest first. Raises Failure."""
    with opened() as client:
        try:
            with client.http.stream("GET", "/feedback/export", params=query) as answer:
                if answer.is_error:
                    answer.read()
                    raise refusal(answer)
                for line in answer.iter_lines():
                    yield orjson.loads(line)
        except httpx.TransportError as error:
            raise client.unreachable(error) from error
