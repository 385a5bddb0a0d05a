"""The queue in a file: the contract of all brokers, and what only this one has."""

import asyncio
import sqlite3
import time
from collections.abc import AsyncIterator
from functools import partial
from pathlib import Path
from urllib.parse import urlencode

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ragline import broker as brokers
from ragline.broker import Message, NewMessage, Unfinished
from ragline.broker import _queue_file as file
from ragline.broker.sqlite import Policy, SqliteBroker
from ragline.errors import Overloaded, TooLarge
from ragline.settings import SettingsError
from tests.ragline.broker.contract import BrokerContract
from tests.ragline.broker.inbox import QUEUE, Inbox, MakeUrl, letters, until, until_empty


class TestSqliteBroker(BrokerContract):
    @pytest.fixture
    def make_url(self, tmp_path: Path) -> MakeUrl:
        return lambda **options: f"sqlite://{tmp_path}/queue.db?{urlencode(options)}"


class Clock:
    """A clock that a test sets."""

    def __init__(self) -> None:
        self.now = 1_000_000.0

    def __call__(self) -> float:
        return self.now


async def hang(_message: Message) -> None:
    await asyncio.Event().wait()


async def fail(_message: Message) -> None:
    raise ValueError("no")


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
async def broker(tmp_path: Path, clock: Clock) -> AsyncIterator[SqliteBroker]:
    opened = SqliteBroker(tmp_path / "queue.db", Policy(poll_s=0.01, drain_s=0.01), clock)
    yield opened
    await opened.close()


async def row(broker: SqliteBroker, columns: str) -> tuple[float, ...]:
    found: tuple[float, ...] = await broker.step(
        lambda db: db.execute(f"SELECT {columns} FROM message").fetchone()  # noqa: S608 - the test's own text
    )
    return found


async def test_each_retry_waits_longer_and_is_not_early(broker: SqliteBroker, clock: Clock) -> None:
    inbox = Inbox(fail)
    await broker.publish(QUEUE, letters("bad"))
    await broker.consume(QUEUE, inbox, concurrency=1)
    waits = []
    for attempt in range(1, 5):
        await inbox.wait(attempt)
        async with asyncio.timeout(60):
            while (await row(broker, "owner IS NOT NULL"))[0]:
                pass
        (due,) = await row(broker, "due")
        waits.append(due - clock.now)
        await broker.step(partial(file.wake, queue=QUEUE, now=due - 0.001, max_delay_s=60))
        assert await row(broker, "state") == (file.WAITING,)
        clock.now = due
    for wait, expected in zip(waits, (1, 4, 16, 60), strict=True):
        assert 0.8 * expected <= wait <= min(60, 1.2 * expected) + 1e-6
    await until_empty(broker)
    assert [letter.attempts for letter in await broker.dead_letters(QUEUE)] == [5]


@given(st.integers(1, 10**6), st.floats(0.001, 100), st.floats(0.001, 1000))
def test_a_delay_has_bounds(attempt: int, retry_s: float, max_retry_s: float) -> None:
    policy = Policy(retry_s=retry_s, max_retry_s=max_retry_s)
    assert min(max_retry_s, 0.8 * retry_s) <= policy.delay_s(attempt) <= max_retry_s


async def test_a_retry_dated_by_a_clock_since_set_back_is_not_lost(broker: SqliteBroker, clock: Clock) -> None:
    inbox = Inbox(fail)
    await broker.publish(QUEUE, letters("bad"))
    await broker.consume(QUEUE, inbox, concurrency=1)
    await inbox.wait(1)
    clock.now -= 10_000
    await inbox.wait(2)


async def test_a_silent_consumer_of_another_process_loses_its_messages(tmp_path: Path, clock: Clock) -> None:
    policy = Policy(lease_s=60, poll_s=0.01, drain_s=0.01)
    silent = SqliteBroker(tmp_path / "queue.db", policy, clock)
    other_clock = Clock()
    other = SqliteBroker(tmp_path / "queue.db", policy, other_clock)
    release = asyncio.Event()

    async def hold(_message: Message) -> None:
        await release.wait()

    first, second = Inbox(hold), Inbox(hold)
    await silent.publish(QUEUE, letters("a", "b", key="k"))
    await silent.consume(QUEUE, first, concurrency=2)
    await first.wait(1)
    await other.consume(QUEUE, second, concurrency=2)
    assert await other.depth(QUEUE) == 2
    assert second.messages == []
    other_clock.now += 61
    await second.wait(1)
    assert second.bodies == ["a"]
    clock.now = other_clock.now  # or what one takes from now on would seem to have lapsed to the other
    release.set()
    await until_empty(other)
    assert sorted(first.bodies + second.bodies) == ["a", "a", "b"]
    await silent.close()
    await other.close()


async def test_a_lease_is_kept_while_the_handler_works(tmp_path: Path, clock: Clock) -> None:
    broker = SqliteBroker(tmp_path / "queue.db", Policy(lease_s=0.03, drain_s=0.01), clock)
    inbox = Inbox(hang)
    await broker.publish(QUEUE, letters("long"))
    await broker.consume(QUEUE, inbox, concurrency=1)
    await inbox.wait(1)
    clock.now += 100
    async with asyncio.timeout(60):
        while (await row(broker, "due"))[0] <= clock.now:
            pass
    await broker.close()


async def test_a_message_that_outlives_too_many_consumers_is_parked(tmp_path: Path) -> None:
    policy = Policy(max_deaths=2, drain_s=0.01)
    path = tmp_path / "queue.db"
    broker = SqliteBroker(path, policy)
    await broker.publish(QUEUE, letters("deadly"))
    await broker.close()
    for _death in range(3):
        # What a killed process leaves behind: a message in hand, and no lock.
        with sqlite3.connect(path) as db:
            db.execute("UPDATE message SET state = 2, owner = 'gone', attempts = attempts + 1, due = 9e9")
        db.close()
        broker = SqliteBroker(path, policy)
        left = await broker.depth(QUEUE)
        dead = await broker.dead_letters(QUEUE)
        await broker.close()
    assert left == 0
    assert [letter.attempts for letter in dead] == [3]
    assert "died 3 times" in dead[0].reason


async def test_deaths_before_progress_do_not_count(broker: SqliteBroker) -> None:
    calls: list[int] = []

    async def unfinished(message: Message) -> None:
        calls.append(message.attempt)
        raise Unfinished

    await broker.publish(QUEUE, letters("big"))
    await broker.step(lambda db: db.execute("UPDATE message SET deaths = 7"))
    await broker.consume(QUEUE, unfinished, concurrency=1)

    async def is_postponed() -> bool:
        return await row(broker, "state, attempts, deaths") == (file.WAITING, 0, 0)

    await until(is_postponed)
    assert calls == [1]


async def test_what_could_never_fit_is_refused_as_too_large(tmp_path: Path) -> None:
    broker = SqliteBroker(tmp_path / "queue.db", Policy(max_messages=3, max_message_mb=1))
    with pytest.raises(TooLarge, match="max_messages"):
        await broker.publish(QUEUE, letters("a", "b", "c", "d"))
    with pytest.raises(TooLarge, match="max_message_mb"):
        await broker.publish(QUEUE, [NewMessage(b"x" * 1_000_001)])
    assert await broker.depth(QUEUE) == 0
    await broker.close()


async def test_dead_letters_are_bounded_too(tmp_path: Path) -> None:
    broker = SqliteBroker(tmp_path / "queue.db", Policy(max_dead=1, max_attempts=1))
    await broker.publish(QUEUE, letters("bad"))
    await broker.consume(QUEUE, fail, concurrency=1)
    await until_empty(broker)
    with pytest.raises(Overloaded, match="replay or purge"):
        await broker.publish(QUEUE, letters("more"))
    await broker.purge(QUEUE)
    await broker.publish(QUEUE, letters("more"))
    await broker.close()


async def test_publishing_at_once_shares_transactions_and_loses_nothing(broker: SqliteBroker) -> None:
    await asyncio.gather(*(broker.publish(QUEUE, letters(str(n))) for n in range(200)))
    inbox = Inbox()
    await broker.consume(QUEUE, inbox, concurrency=50)
    await inbox.wait(200)
    assert sorted(map(int, inbox.bodies)) == list(range(200))


async def test_one_failing_step_does_not_undo_the_others(broker: SqliteBroker) -> None:
    def wrong(db: sqlite3.Connection) -> None:
        db.execute("INSERT INTO message (id) VALUES ('half')")

    steps = [broker.publish(QUEUE, letters("a")), broker.step(wrong), broker.publish(QUEUE, letters("b"))]
    first, second, third = await asyncio.gather(*steps, return_exceptions=True)
    assert (first, third) == (None, None)
    assert isinstance(second, sqlite3.IntegrityError)
    assert await broker.depth(QUEUE) == 2


def test_a_file_that_is_no_queue_is_left_alone(tmp_path: Path) -> None:
    path = tmp_path / "queue.db"
    path.write_bytes(b"letters to my aunt" * 100)
    with pytest.raises(SettingsError, match="move it away"):
        SqliteBroker(path)
    assert path.read_bytes() == b"letters to my aunt" * 100


def test_a_queue_of_another_version_is_left_alone(tmp_path: Path) -> None:
    path = tmp_path / "queue.db"
    db = sqlite3.connect(path)
    db.execute("PRAGMA user_version = 99")
    db.close()
    with pytest.raises(SettingsError, match="version 99"):
        SqliteBroker(path)


@pytest.mark.parametrize(
    ("url", "sentence"),
    [
        ("kafka://x", "sqlite://"),
        ("sqlite://", "names no file"),
        ("sqlite:///q.db?retries=3", "no option 'retries'"),
        ("sqlite:///q.db?max_attempts=0", "max_attempts"),
    ],
)
def test_a_bad_url_is_one_sentence(url: str, sentence: str) -> None:
    with pytest.raises(SettingsError, match=sentence):
        brokers.open(url)


async def test_a_dead_letter_says_when_it_was_parked(tmp_path: Path) -> None:
    broker = SqliteBroker(tmp_path / "queue.db", Policy(max_attempts=1))
    before = time.time()
    await broker.publish(QUEUE, letters("bad"))
    await broker.consume(QUEUE, fail, concurrency=1)
    await until_empty(broker)
    (letter,) = await broker.dead_letters(QUEUE)
    assert before <= letter.parked_at <= time.time()
    await broker.close()
