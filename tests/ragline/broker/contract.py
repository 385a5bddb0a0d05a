"""What every broker promises. A broker's own test module subclasses ``BrokerContract`` and gives its URL."""

import asyncio
import signal
import subprocess
import sys
from collections import defaultdict
from collections.abc import AsyncIterator
from typing import IO, ClassVar

import pytest

from ragline import broker as brokers
from ragline.broker import Broker, Message, NewMessage, Poison, Unfinished
from ragline.errors import Overloaded
from tests.ragline.broker.inbox import (
    LIMIT_S,
    QUEUE,
    Inbox,
    MakeUrl,
    letters,
    until,
    until_dead,
    until_depth,
    until_empty,
)

# Takes messages, says so, and never finishes one.
HANGING_CONSUMER = """
import asyncio, sys
from ragline import broker

async def main():
    async def hang(message):
        print("took", message.body.decode(), flush=True)
        await asyncio.Event().wait()

    opened = broker.open(sys.argv[1])
    await opened.consume("work", hang, concurrency=2)
    await asyncio.Event().wait()

asyncio.run(main())
"""


def taken(said: IO[str]) -> str:
    """The next message that a hanging consumer took, whatever it logs besides."""
    return next(line.removeprefix("took ").strip() for line in said if line.startswith("took "))


class BrokerContract:
    """Subclass it with a fixture ``make_url(**options) -> str`` that always names the same, empty broker."""

    # Whether a message waits while an older one of its key waits for its retry.
    keeps_order_over_retries: ClassVar[bool] = True

    @pytest.fixture
    async def broker(self, make_url: MakeUrl) -> AsyncIterator[Broker]:
        opened = brokers.open(make_url(retry_s=0.01, max_retry_s=0.05, max_attempts=3, max_messages=100))
        yield opened
        await opened.close()

    async def test_every_message_is_handled_and_then_gone(self, broker: Broker) -> None:
        inbox = Inbox()
        await broker.publish(QUEUE, letters("a", "b", "c"))
        assert await broker.depth(QUEUE) == 3
        await broker.consume(QUEUE, inbox, concurrency=2)
        await inbox.wait(3)
        await until_empty(broker)
        assert sorted(inbox.bodies) == ["a", "b", "c"]
        assert [message.attempt for message in inbox.messages] == [1, 1, 1]
        assert len({message.id for message in inbox.messages}) == 3

    async def test_a_waiting_consumer_hears_of_a_new_message(self, broker: Broker) -> None:
        inbox = Inbox()
        await broker.consume(QUEUE, inbox, concurrency=1)
        for count in range(1, 4):
            await broker.publish(QUEUE, letters(str(count)))
            await inbox.wait(count)
        assert inbox.bodies == ["1", "2", "3"]

    async def test_queues_are_apart(self, broker: Broker) -> None:
        inbox = Inbox()
        await broker.publish("other", letters("not mine"))
        await broker.publish(QUEUE, letters("mine"))
        await broker.consume(QUEUE, inbox, concurrency=4)
        await inbox.wait(1)
        await until_empty(broker)
        assert inbox.bodies == ["mine"]
        assert await broker.depth("other") == 1

    async def test_equal_keys_are_handled_in_order_one_at_a_time(self, broker: Broker) -> None:
        busy: dict[str, int] = defaultdict(int)

        async def handle(message: Message) -> None:
            busy[message.key] += 1
            assert busy[message.key] == 1
            await asyncio.sleep(0)
            busy[message.key] -= 1

        inbox = Inbox(handle)
        for number in range(20):
            await broker.publish(QUEUE, [NewMessage(str(number).encode(), key) for key in ("x", "y", "z")])
        await broker.consume(QUEUE, inbox, concurrency=8)
        await inbox.wait(60)
        await until_empty(broker)
        for key in ("x", "y", "z"):
            assert [int(m.body) for m in inbox.messages if m.key == key] == list(range(20))

    async def test_a_message_and_the_retry_of_an_older_one_of_its_key(self, broker: Broker) -> None:
        async def fail_once(message: Message) -> None:
            if message.body == b"first" and message.attempt == 1:
                raise ValueError("not yet")

        inbox = Inbox(fail_once)
        await broker.publish(QUEUE, letters("first", "second", key="k"))
        await broker.consume(QUEUE, inbox, concurrency=4)
        await inbox.wait(3)
        if self.keeps_order_over_retries:
            assert inbox.bodies == ["first", "first", "second"]
        assert sorted(inbox.bodies) == ["first", "first", "second"]

    async def test_a_failing_message_is_retried_then_parked_with_its_reason(self, broker: Broker) -> None:
        async def fail(message: Message) -> None:
            if message.body == b"bad":
                raise RuntimeError("the store\nis away")

        inbox = Inbox(fail)
        await broker.publish(QUEUE, [*letters("bad", key="k"), *letters("good", key="k")])
        await broker.consume(QUEUE, inbox, concurrency=4)
        await until_dead(broker, 1)
        await inbox.wait(4)
        await until_empty(broker)
        if self.keeps_order_over_retries:
            assert inbox.bodies == ["bad", "bad", "bad", "good"]
        assert [message.attempt for message in inbox.messages if message.body == b"bad"] == [1, 2, 3]
        (letter,) = await broker.dead_letters(QUEUE)
        assert (letter.id, letter.body, letter.key) == (inbox.messages[0].id, b"bad", "k")
        assert letter.attempts == 3
        assert letter.parked_at > 0
        assert "the store is away" in letter.reason
        assert "Traceback" not in letter.reason
        assert "\n" not in letter.reason

    async def test_poison_is_parked_at_once(self, broker: Broker) -> None:
        async def refuse(_message: Message) -> None:
            raise Poison("this is no job")

        inbox = Inbox(refuse)
        await broker.publish(QUEUE, letters("bad"))
        await broker.consume(QUEUE, inbox, concurrency=1)
        await until_dead(broker, 1)
        assert inbox.bodies == ["bad"]
        assert [letter.reason for letter in await broker.dead_letters(QUEUE)] == ["this is no job"]

    async def test_dead_letters_are_listed_replayed_and_purged(self, broker: Broker) -> None:
        healed = False

        async def refuse(_message: Message) -> None:
            if not healed:
                raise Poison("no")

        inbox = Inbox(refuse)
        await broker.publish(QUEUE, letters("a", "b", "c", "d"))
        await broker.consume(QUEUE, inbox, concurrency=1)
        await until_dead(broker, 4)
        dead = await broker.dead_letters(QUEUE)
        assert [letter.body for letter in dead] == [b"a", b"b", b"c", b"d"]
        first = await broker.dead_letters(QUEUE, limit=2)
        assert [letter.body for letter in first] == [b"a", b"b"]

        assert await broker.purge(QUEUE, [dead[1].id, "unknown"]) == 1
        healed = True
        assert await broker.replay(QUEUE, [dead[0].id, "unknown"]) == 1
        await inbox.wait(5)
        assert (inbox.messages[-1].body, inbox.messages[-1].attempt) == (b"a", 1)
        assert await broker.replay(QUEUE) == 2
        await inbox.wait(7)
        assert inbox.bodies[5:] == ["c", "d"]
        assert await broker.dead_letters(QUEUE) == []
        assert await broker.purge(QUEUE) == 0

    async def test_a_full_queue_takes_all_or_none(self, broker: Broker) -> None:
        await broker.publish(QUEUE, letters(*map(str, range(90))))
        with pytest.raises(Overloaded):
            await broker.publish(QUEUE, letters(*map(str, range(11))))
        assert await broker.depth(QUEUE) == 90
        await broker.publish(QUEUE, letters(*map(str, range(10))))
        with pytest.raises(Overloaded):
            await broker.publish(QUEUE, letters("one too many"))
        await broker.publish("other", letters("there is room here"))
        inbox = Inbox()
        await broker.consume(QUEUE, inbox, concurrency=10)
        await inbox.wait(100)
        await until_empty(broker)
        await broker.publish(QUEUE, letters("again"))
        await inbox.wait(101)

    async def test_concurrency_is_reached_and_never_exceeded(self, broker: Broker) -> None:
        gate = asyncio.Event()
        running: list[int] = [0, 0]

        async def hold(_message: Message) -> None:
            running[0] += 1
            running[1] = max(running)
            await gate.wait()
            running[0] -= 1

        inbox = Inbox(hold)
        await broker.publish(QUEUE, letters(*map(str, range(12))))
        await broker.consume(QUEUE, inbox, concurrency=4)
        await inbox.wait(4)
        assert await broker.depth(QUEUE) == 12
        assert len(inbox.messages) == 4
        gate.set()
        await inbox.wait(12)
        assert running[1] == 4

    async def test_stop_lets_handlers_finish_and_takes_no_more(self, broker: Broker) -> None:
        gate = asyncio.Event()

        async def hold(_message: Message) -> None:
            await gate.wait()

        inbox = Inbox(hold)
        await broker.publish(QUEUE, letters("in hand", "waiting"))
        consumer = await broker.consume(QUEUE, inbox, concurrency=1)
        await inbox.wait(1)
        stopping = asyncio.create_task(consumer.stop())
        await asyncio.sleep(0)
        gate.set()
        await stopping
        assert inbox.bodies == ["in hand"]
        await until_depth(broker, 1)
        await consumer.stop()

    async def test_stop_gives_back_what_does_not_finish(self, make_url: MakeUrl) -> None:
        broker = brokers.open(make_url(drain_s=0.01))

        async def hang(_message: Message) -> None:
            await asyncio.Event().wait()

        first, second = Inbox(hang), Inbox()
        await broker.publish(QUEUE, letters("slow", "next", key="k"))
        consumer = await broker.consume(QUEUE, first, concurrency=2)
        await first.wait(1)
        await consumer.stop()
        await until_depth(broker, 2)
        await broker.consume(QUEUE, second, concurrency=2)
        await second.wait(2)
        assert second.bodies == ["slow", "next"]
        await broker.close()

    async def test_what_was_published_outlives_the_broker(self, make_url: MakeUrl) -> None:
        first = brokers.open(make_url())
        await first.publish(QUEUE, letters("kept"))
        await first.close()
        second, inbox = brokers.open(make_url()), Inbox()
        await second.consume(QUEUE, inbox, concurrency=1)
        await inbox.wait(1)
        await second.close()
        assert inbox.bodies == ["kept"]

    async def test_a_consumer_that_is_killed_gives_its_messages_back(self, make_url: MakeUrl) -> None:
        broker = brokers.open(make_url())
        await broker.publish(QUEUE, letters("one", "two", "three"))
        await broker.close()

        command = [sys.executable, "-c", HANGING_CONSUMER, make_url()]
        with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as child:  # noqa: ASYNC220 - nothing else runs
            assert child.stdout is not None
            bodies = {taken(child.stdout), taken(child.stdout)}
            child.send_signal(signal.SIGKILL)
        assert bodies == {"one", "two"}

        broker, inbox = brokers.open(make_url()), Inbox()
        await until_depth(broker, 3)
        await broker.consume(QUEUE, inbox, concurrency=1)
        await inbox.wait(3)
        await until_empty(broker)
        assert sorted(inbox.bodies) == ["one", "three", "two"]
        await broker.close()

    async def test_what_is_unfinished_comes_again_and_no_attempt_is_counted(self, make_url: MakeUrl) -> None:
        broker = brokers.open(make_url(max_attempts=1, max_retry_s=0.01))
        parts = ["first part", "second part", "third part"]

        async def do_a_part(_message: Message) -> None:
            parts.pop()
            if parts:
                raise Unfinished

        inbox = Inbox(do_a_part)
        await broker.publish(QUEUE, letters("big"))
        await broker.consume(QUEUE, inbox, concurrency=1)
        await inbox.wait(3)
        await until_empty(broker)
        assert [message.attempt for message in inbox.messages] == [1, 1, 1]
        assert len({message.id for message in inbox.messages}) == 1
        assert await broker.dead_letters(QUEUE) == []
        await broker.close()

    async def test_a_handler_that_is_cancelled_is_called_again(self, broker: Broker) -> None:
        async def cancel_once(message: Message) -> None:
            if message.attempt == 1:
                raise asyncio.CancelledError

        inbox = Inbox(cancel_once)
        await broker.publish(QUEUE, letters("a"))
        await broker.consume(QUEUE, inbox, concurrency=1)
        await inbox.wait(2)
        await until_empty(broker)
        assert [message.attempt for message in inbox.messages] == [1, 2]

    async def test_two_consumers_share_the_work(self, make_url: MakeUrl) -> None:
        gate = asyncio.Event()

        async def hold(_message: Message) -> None:
            await gate.wait()

        one, two = brokers.open(make_url()), brokers.open(make_url())
        first, second = Inbox(hold), Inbox(hold)
        await one.publish(QUEUE, letters(*map(str, range(20))))
        await one.consume(QUEUE, first, concurrency=3)
        await two.consume(QUEUE, second, concurrency=3)
        await first.wait(3)
        await second.wait(3)
        gate.set()

        async def all_came() -> bool:
            return len(first.messages) + len(second.messages) == 20

        await until(all_came)
        await until_empty(one)
        await until_empty(two)
        assert sorted(map(int, first.bodies + second.bodies)) == list(range(20))
        await one.close()
        await two.close()

    async def test_a_flood_is_handled_exactly_once(self, make_url: MakeUrl) -> None:
        one, two = brokers.open(make_url()), brokers.open(make_url())
        seen: list[int] = []
        done = asyncio.Event()

        async def note(message: Message) -> None:
            seen.append(int(message.body))
            if len(seen) == 5000:
                done.set()

        await one.consume(QUEUE, note, concurrency=20)
        await two.consume(QUEUE, note, concurrency=20)
        for start in range(0, 5000, 1000):
            numbers = range(start, start + 1000)
            await one.publish(QUEUE, [NewMessage(str(n).encode(), key=str(n % 70)) for n in numbers])
        async with asyncio.timeout(2 * LIMIT_S):
            await done.wait()
        await until_empty(one)
        await until_empty(two)
        await one.close()
        await two.close()
        left = brokers.open(make_url())
        assert await left.depth(QUEUE) == 0
        await left.close()
        assert sorted(seen) == list(range(5000))

    async def test_replaying_and_purging_at_once_settles_each_letter_once(self, make_url: MakeUrl) -> None:
        one, two = brokers.open(make_url(max_attempts=1)), brokers.open(make_url(max_attempts=1))

        async def refuse(_message: Message) -> None:
            raise Poison("no")

        await one.publish(QUEUE, letters(*map(str, range(40))))
        consumer = await one.consume(QUEUE, refuse, concurrency=10)
        await until_dead(one, 40)
        await consumer.stop()
        half = [letter.id for letter in await one.dead_letters(QUEUE)][::2]
        back, again, gone, shown = await asyncio.gather(
            one.replay(QUEUE), two.replay(QUEUE), two.purge(QUEUE, half), one.dead_letters(QUEUE)
        )
        assert back + again + gone == 40
        assert len(shown) in {0, 20, 40}
        assert await one.dead_letters(QUEUE) == []
        inbox = Inbox()
        await two.consume(QUEUE, inbox, concurrency=10)
        await inbox.wait(back + again)
        await until_empty(two)
        assert len(set(inbox.bodies)) == len(inbox.bodies) == back + again
        await one.close()
        await two.close()
