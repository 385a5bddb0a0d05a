"""``ragline queue``: shows what waits and what was given up, puts it back or forgets it."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from typing import Annotated, Any, TypeVar
from urllib.parse import quote

import typer

from ragline import broker as brokers
from ragline import log
from ragline import settings as base
from ragline.broker import Broker, DeadLetter
from ragline.cli.client import Failure
from ragline.cli.options import Json
from ragline.cli.settings import Settings
from ragline.cli.terminal import out, shown
from ragline.errors import RaglineError
from ragline.urls import parse
from ragline.urls import shown as without_login

NAMES = ("ingest", "batch")
UNITS = ((86_400, "d"), (3_600, "h"), (60, "min"), (1, "s"))

R = TypeVar("R")
app = typer.Typer(
    no_args_is_help=True, help="The queues of documents and of batches, and what was given up in them."
)
Queue = Annotated[str, typer.Option("--queue", "-q", help="ingest or batch; both, if none is given.")]
Ids = Annotated[list[str] | None, typer.Option("--id", help="A message that was given up; can be repeated.")]
Url = Annotated[
    str, typer.Option("--broker-url", help="Where the queues are; as RAGLINE_BROKER_URL says by default.")
]


@app.command("list")
def list_queues(
    queue: Queue = "",
    limit: Annotated[
        int, typer.Option(min=1, max=100_000, help="How many of a queue's messages are shown.")
    ] = 100,
    as_json: Json = False,
    broker_url: Url = "",
) -> None:
    """Show how many messages wait, and those that were given up."""

    async def look(broker: Broker, name: str) -> tuple[int, list[DeadLetter]]:
        return await broker.depth(name), await broker.dead_letters(name, limit)

    nothing: tuple[int, list[DeadLetter]] = (0, [])
    found = run(queue, broker_url, look, nothing)
    if as_json:
        typer.echo(json.dumps([view(name, *state) for name, state in found.items()]))
        return
    for name, (waiting, letters) in found.items():
        more = " or more" if len(letters) == limit else ""
        out.print(f"{name}: {waiting} waiting, {len(letters)}{more} given up")
        for letter in letters:
            print_letter(letter)


@app.command()
def replay(queue: Queue = "", ids: Ids = None, as_json: Json = False, broker_url: Url = "") -> None:
    """Put messages that were given up back in their queue: all of them, or those that are named."""

    async def put_back(broker: Broker, name: str) -> int:
        return await broker.replay(name, ids or ())

    tell("put back", run(queue, broker_url, put_back, 0), ids or (), as_json)


@app.command()
def purge(
    queue: Queue = "",
    ids: Ids = None,
    everything: Annotated[bool, typer.Option("--all", help="All of them, unseen.")] = False,
    as_json: Json = False,
    broker_url: Url = "",
) -> None:
    """Forget messages that were given up: those that are named, or all."""
    if bool(ids) == everything:
        raise Failure("Name the messages to forget with --id, or say --all.")

    async def forget(broker: Broker, name: str) -> int:
        return await broker.purge(name, ids or ())

    tell("forgotten", run(queue, broker_url, forget, 0), ids or (), as_json)


def run(queue: str, url: str, work: Callable[[Broker, str], Awaitable[R]], nothing: R) -> dict[str, R]:
    """What ``work`` returns for each queue; ``nothing`` where there is no queue yet. Raises Failure."""
    if queue and queue not in NAMES:
        raise Failure(f"There is no queue {queue!r}; there are {' and '.join(NAMES)}.")
    names = [queue] if queue else list(NAMES)
    settings = base.load(Settings)
    log.configure(settings.log_level, settings.log_format)
    url = url or settings.broker_url or f"sqlite://{quote(str(settings.data_dir.absolute()))}/queue.db"
    if is_not_there(url):
        return dict.fromkeys(names, nothing)

    async def all_of_them() -> dict[str, R]:
        async with opened(url) as broker:
            return {name: await work(broker, name) for name in names}

    try:
        return asyncio.run(all_of_them())
    except RaglineError as error:
        raise Failure(f"{error.detail} ({without_login(url).partition('?')[0]})") from error


def is_not_there(url: str) -> bool:
    """Whether the URL names a file that the suite has not made yet; looking must not make it."""
    location = parse(url, tuple(brokers.BACKENDS))
    return location.scheme == "sqlite" and not location.file().exists()


@asynccontextmanager
async def opened(url: str) -> AsyncIterator[Broker]:
    """The broker, closed in the end."""
    broker = brokers.open(url)
    try:
        yield broker
    finally:
        await broker.close()


def view(name: str, waiting: int, letters: Sequence[DeadLetter]) -> dict[str, Any]:
    """A queue for machines."""
    given_up = [
        {
            "id": letter.id,
            "key": letter.key,
            "attempts": letter.attempts,
            "reason": letter.reason,
            "parked_at": letter.parked_at,
            "body": letter.body.decode(errors="replace"),
        }
        for letter in letters
    ]
    return {"queue": name, "depth": waiting, "dead_letters": given_up}


def print_letter(letter: DeadLetter) -> None:
    """One message that was given up."""
    attempts = f"{letter.attempts} attempt{'s' if letter.attempts != 1 else ''}"
    facts = [attempts, age(time.time() - letter.parked_at) if letter.parked_at else "age not known", letter.key]
    out.print(f"  {shown(letter.id)}  {shown(', '.join(filter(None, facts)))}")
    out.print(f"    {shown(letter.reason)}")


def age(seconds: float) -> str:
    """How long ago, in its largest unit."""
    for size, unit in UNITS:
        if seconds >= size:
            return f"{int(seconds // size)} {unit} ago"
    return "just now"


def tell(done: str, counts: dict[str, int], ids: Sequence[str], as_json: bool) -> None:
    """Say how many; messages that were named and not found end with status 1."""
    if as_json:
        typer.echo(json.dumps(counts))
    else:
        for name, count in counts.items():
            out.print(f"{name}: {count} {done}")
    missing = len(set(ids)) - sum(counts.values())
    if missing > 0:
        raise Failure(f"{missing} of the messages that you named are not among those given up.")
