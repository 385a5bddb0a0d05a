"""`ragline queue`: what waits and what was given up, in a file and in RabbitMQ, beside a running consumer."""

import asyncio
import json
import uuid
from collections.abc import AsyncIterator

import pytest

from ragline import broker as brokers
from ragline.broker import Broker, Message, NewMessage, Poison
from tests.ragline.broker.inbox import Inbox, until
from tests.ragline.cli.conftest import Said, Shell

pytestmark = pytest.mark.stack
HIDDEN = "hush"


@pytest.fixture(params=["sqlite", "amqp"])
def url(request: pytest.FixtureRequest, nobody: Shell) -> str:
    if request.param == "sqlite":
        return f"sqlite://{nobody.folder}/.ragline/queue.db"
    return f"{request.getfixturevalue('rabbitmq_server').url}?prefix={uuid.uuid4().hex}."


@pytest.fixture
async def broker(url: str) -> AsyncIterator[Broker]:
    opened = brokers.open(url)
    yield opened
    await opened.close()


async def refuse(message: Message) -> None:
    raise Poison(f"{message.body.decode()} is [bold]no[/bold] \x1b[31mjob")


async def give_up(broker: Broker, *bodies: str) -> list[str]:
    """Let messages be given up; returns their ids."""
    await broker.publish("ingest", [NewMessage(body.encode(), key=f"acme/{body}") for body in bodies])
    consumer = await broker.consume("ingest", refuse, concurrency=1)

    async def all_are() -> bool:
        return len(await broker.dead_letters("ingest")) == len(bodies)

    await until(all_are)
    await consumer.stop()
    return [letter.id for letter in await broker.dead_letters("ingest")]


async def ask(shell: Shell, url: str, *arguments: str) -> Said:
    """The command line as a process of its own, while this one goes on."""
    return await asyncio.to_thread(shell.run, "queue", *arguments, RAGLINE_BROKER_URL=url)


async def test_a_queue_is_listed(broker: Broker, url: str, nobody: Shell) -> None:
    ids = await give_up(broker, "a", "b")
    await broker.publish("ingest", [NewMessage(b"waits")])
    await broker.publish("batch", [NewMessage(b"waits")])
    said = await ask(nobody, url, "list")
    assert (said.status, said.err) == (0, "")
    lines = said.out.splitlines()
    assert lines[0] == "ingest: 1 waiting, 2 given up"
    assert lines[1].split("  ")[1] == ids[0]
    assert lines[1].endswith("acme/a")
    assert "1 attempt, " in lines[1]
    assert lines[2] == "    a is [bold]no[/bold] [31mjob"
    assert lines[-1] == "batch: 1 waiting, 0 given up"
    short = await ask(nobody, url, "list", "--queue", "ingest", "--limit", "1")
    assert short.out.startswith("ingest: 1 waiting, 1 or more given up\n")
    assert "batch" not in short.out


async def test_a_queue_is_listed_for_machines(broker: Broker, url: str, nobody: Shell) -> None:
    (letter,) = await give_up(broker, "a")
    said = await ask(nobody, url, "list", "--json")
    ingest, batch = json.loads(said.out)
    assert batch == {"queue": "batch", "depth": 0, "dead_letters": []}
    (parked,) = ingest["dead_letters"]
    assert parked.pop("parked_at") > 0
    reason = "a is [bold]no[/bold] \x1b[31mjob"
    assert parked == {"id": letter, "key": "acme/a", "attempts": 1, "reason": reason, "body": "a"}


async def test_messages_are_put_back_and_forgotten(broker: Broker, url: str, nobody: Shell) -> None:
    a, b, c, d = await give_up(broker, "a", "b", "c", "d")
    said = await ask(nobody, url, "replay", "--queue", "ingest", "--id", a, "--id", b)
    assert (said.status, said.out) == (0, "ingest: 2 put back\n")
    unknown = await ask(nobody, url, "purge", "--id", c, "--id", "unknown")
    assert (unknown.status, unknown.out) == (1, "ingest: 1 forgotten\nbatch: 0 forgotten\n")
    assert "1 of the messages" in unknown.err
    assert [letter.id for letter in await broker.dead_letters("ingest")] == [d]
    careless = await ask(nobody, url, "purge")
    assert careless.status == 1
    assert "--all" in careless.err
    purged = await ask(nobody, url, "purge", "--all", "--json")
    assert json.loads(purged.out) == {"ingest": 1, "batch": 0}
    inbox = Inbox()
    await broker.consume("ingest", inbox, concurrency=1)
    await inbox.wait(2)
    assert inbox.bodies == ["a", "b"]


async def test_what_a_consumer_has_in_hand_stays_there(broker: Broker, url: str, nobody: Shell) -> None:
    gate = asyncio.Event()

    async def hold(_message: Message) -> None:
        await gate.wait()

    inbox = Inbox(hold)
    await broker.publish("ingest", [NewMessage(b"long")])
    await broker.consume("ingest", inbox, concurrency=2)
    await inbox.wait(1)
    for words in (["list"], ["replay"], ["purge", "--all"]):
        assert (await ask(nobody, url, *words)).status == 0
    assert await broker.depth("ingest") == 1
    gate.set()

    async def is_done() -> bool:
        return await broker.depth("ingest") == 0

    await until(is_done)
    assert [(message.body, message.attempt) for message in inbox.messages] == [(b"long", 1)]


def test_looking_makes_no_queue(nobody: Shell) -> None:
    said = nobody.run("queue", "list")
    assert (said.status, said.out) == (0, "ingest: 0 waiting, 0 given up\nbatch: 0 waiting, 0 given up\n")
    assert list(nobody.folder.iterdir()) == []


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (["list", "--queue", "embed"], "there are ingest and batch"),
        (["list", "--broker-url", "kafka://x"], "amqp://"),
        (["list", "--broker-url", f"amqp://me:{HIDDEN}@127.0.0.1:1/"], "does not answer"),
    ],
)
def test_what_is_wrong_is_told(nobody: Shell, words: list[str], sentence: str) -> None:
    said = nobody.run("queue", *words, RAGLINE_LOG_LEVEL="error")
    assert said.status == 1
    assert sentence in said.err
    assert HIDDEN not in said.err
