"""Workers answer every line once, over stops, outages, cancels and each other."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import orjson
import pytest
import pytest_asyncio

from ragline.broker import Broker, DeadLetter, NewMessage
from ragline.errors import Internal, NotFound, Overloaded
from services.generator.batches import journal
from services.generator.batches.manifest import CHUNKS, FINISHED, INPUT, MANIFEST, QUEUE, created_at
from services.generator.batches.storage import Storage
from tests.generator.batches.places import Place, line, said, sqlite

QUERIES = [f"q{n}" for n in range(18)]
LINES = [line(query) for query in QUERIES]


@pytest_asyncio.fixture
async def broker(tmp_path: Path) -> AsyncIterator[Broker]:
    async with sqlite(tmp_path) as opened:
        yield opened


@pytest_asyncio.fixture
async def place(storage: Storage, broker: Broker) -> Place:
    return Place(storage, broker)


async def until_waiting(place: Place, count: int) -> None:
    while place.till.waiting < count:  # noqa: ASYNC110 - the door counts, and has no event for it
        await asyncio.sleep(0.01)


async def test_every_line_is_answered_once_in_order(place: Place) -> None:
    batch = await place.accept(*LINES)
    assert place.view(batch)["state"] == "queued"
    async with place.working():
        view = await place.ended(batch)
    assert (view["state"], view["total"], view["done"], view["failed"]) == ("done", 18, 18, 0)
    assert view["finished_at"] >= view["created_at"] == created_at(batch.id)
    results = place.results(batch)
    assert said(results) == QUERIES
    assert [result["line"] for result in results] == list(range(1, 19))
    assert set(place.till.asked.values()) == {1}
    assert place.results(batch, after=7) == results[7:]
    assert orjson.loads(place.batches.results.of_id(batch, "q9").raw) == results[9]
    assert journal.names(place.batches.storage, batch.folder) == {}
    assert await place.broker.depth(QUEUE) == 0


async def test_bad_lines_fail_alone(place: Place) -> None:
    batch = await place.accept(line("a"), b"nonsense\n", b"\n", line("b"), line("c", "a"), line(""), line("d"))
    async with place.working():
        view = await place.ended(batch)
    assert (view["total"], view["done"], view["failed"]) == (6, 6, 3)
    results = place.results(batch)
    assert [(result["line"], result["custom_id"], result["status"]) for result in results] == [
        (1, "a", 200),
        (2, None, 400),
        (4, "b", 200),
        (5, "a", 400),
        (6, None, 400),
        (7, "d", 200),
    ]
    assert "before" in results[3]["error"]["detail"]
    assert place.till.asked == {"a": 1, "b": 1, "d": 1}
    assert orjson.loads(place.batches.results.of_id(batch, "a").raw)["line"] == 1
    with pytest.raises(NotFound):
        place.batches.results.of_id(batch, "nobody")


async def test_a_batch_in_which_nothing_succeeds_has_failed(place: Place) -> None:
    batch = await place.accept(line("", "x"))
    async with place.working():
        assert (await place.ended(batch))["state"] == "failed"


async def test_queries_are_sent_together_and_a_bad_one_costs_the_others_nothing(place: Place) -> None:
    given = [line(query, route="retrieve") for query in ("a", "b", "c")]
    batch = await place.accept(*given, line("", "empty", "retrieve"))
    other = await place.accept(line("x", route="retrieve"), line("y", route="retrieve"))
    async with place.working():
        await place.ended(batch)
        await place.ended(other)
    assert [result["status"] for result in place.results(batch)] == [200, 200, 200, 400]
    assert {"queries": ["x", "y"]} in place.till.bodies
    assert {"query": "b"} in place.till.bodies
    assert place.results(other)[1]["body"] == {
        "passages": ["y"],
        "generation": 1,
        "timings_ms": {},
        "degraded": [],
    }


async def test_what_is_finished_can_be_read_while_the_rest_is_worked_on(place: Place) -> None:
    batch = await place.accept(*LINES)
    place.till.open.clear()
    async with place.working(parallel=1) as worker:
        await until_waiting(place, 1)
        assert place.results(batch) == []
        with pytest.raises(NotFound, match="no result yet"):
            place.batches.results.of_id(batch, "q17")
        place.till.open.set()
        await place.ended(batch)
        assert worker.consumer is not None
    assert said(place.results(batch)) == QUERIES


async def test_results_stop_at_the_first_hole_unless_all_are_wanted(place: Place) -> None:
    batch = await place.accept(*LINES[:8])
    place.till.fails["q2"] = place.till.fails["q5"] = Internal()
    async with place.working(parallel=1, max_attempts=1_000_000):
        while place.view(batch)["done"] < 6:  # noqa: ASYNC110 - files have no events
            await asyncio.sleep(0.02)
        assert said(place.results(batch)) == ["q0", "q1"]
        assert said(place.results(batch, in_order=False)) == ["q0", "q1", "q3", "q4", "q6", "q7"]
        assert place.view(batch)["state"] == "running"
        place.till.fails.clear()
        await place.ended(batch)
    assert said(place.results(batch)) == QUERIES[:8]
    assert all(place.till.asked[query] == 1 for query in ("q0", "q1", "q3", "q4", "q6", "q7"))


async def test_a_worker_that_stops_leaves_the_rest_to_the_next(place: Place) -> None:
    batch = await place.accept(*LINES)
    place.till.open.clear()
    async with place.working():
        await until_waiting(place, 2)
        stop = asyncio.get_running_loop().call_later(0.05, place.till.open.set)
    stop.cancel()
    done = place.view(batch)["done"]
    assert 2 <= done < len(LINES)
    async with place.working():
        await place.ended(batch)
    assert said(place.results(batch)) == QUERIES
    assert set(place.till.asked.values()) == {1}


async def test_a_message_is_not_held_for_long(place: Place) -> None:
    batch = await place.accept(*LINES)
    async with place.working(hold_s=0.0001, max_attempts=1):
        view = await place.ended(batch)
    assert view["failed"] == 0
    assert set(place.till.asked.values()) == {1}


async def test_an_outage_costs_no_attempt_and_no_line(place: Place) -> None:
    batch = await place.accept(*LINES)
    place.till.away = True
    async with place.working(max_attempts=1):
        await asyncio.sleep(0.5)  # more than all attempts together would take
        assert place.view(batch)["done"] == 0
        place.till.away = False
        view = await place.ended(batch)
    assert view["failed"] == 0
    assert await place.broker.dead_letters(QUEUE) == []


async def test_a_service_without_room_costs_no_attempt(place: Place) -> None:
    batch = await place.accept(*LINES)
    place.till.fails["q2"] = Overloaded("It is full.")
    async with place.working(max_attempts=1):
        while place.till.asked["q2"] < 3:  # noqa: ASYNC110 - the door counts, and has no event for it
            await asyncio.sleep(0.02)
        place.till.fails.clear()
        view = await place.ended(batch)
    assert view["failed"] == 0
    assert all(count == 1 for query, count in place.till.asked.items() if query != "q2")


async def test_a_line_that_goes_on_failing_becomes_an_error_at_last(place: Place) -> None:
    place.till.fails["q3"] = Internal()
    batch = await place.accept(*LINES)
    async with place.working():
        view = await place.ended(batch)
    assert (view["state"], view["failed"]) == ("done", 1)
    assert place.results(batch)[3]["error"]["status"] == 500
    assert place.till.asked["q3"] == 3
    assert all(count == 1 for query, count in place.till.asked.items() if query != "q3")


async def test_a_cancelled_batch_begins_no_more_lines(place: Place) -> None:
    batch = await place.accept(*LINES)
    place.till.open.clear()
    async with place.working() as worker:
        await until_waiting(place, 2)
        place.batches.cancel(batch)  # from another process: by its file
        assert place.view(batch)["state"] == "cancelled"
        place.till.open.set()
        while await place.broker.depth(QUEUE):  # noqa: ASYNC110 - the queue is empty when all has been passed over
            await asyncio.sleep(0.02)
        assert worker.consumer is not None
    view = place.view(batch)
    assert (view["state"], view["done"]) == ("cancelled", 2)
    assert view["finished_at"] is not None
    assert sorted(said(place.results(batch, in_order=False))) == sorted(place.till.asked)
    assert sum(place.till.asked.values()) == 2


async def test_a_batch_that_has_ended_stays_as_it_is(place: Place) -> None:
    batch = await place.accept(line("a"))
    async with place.working():
        before = await place.ended(batch)
    place.batches.cancel(batch)
    assert place.view(batch) == before


async def test_two_workers_and_every_message_twice(place: Place) -> None:
    batch = await place.accept(*LINES)
    again = [
        NewMessage(orjson.dumps({"tenant": batch.tenant, "batch": batch.id, "chunk": chunk}))
        for chunk in reversed(range(len(batch.chunks)))
    ]
    await place.broker.publish(QUEUE, again)
    async with place.working(), place.working():
        await place.ended(batch)
        while await place.broker.depth(QUEUE):  # noqa: ASYNC110 - the second messages, too
            await asyncio.sleep(0.02)
    assert said(place.results(batch)) == QUERIES
    assert place.batches.storage.names(f"{batch.folder}/{CHUNKS}") == [f"{n:06d}.jsonl" for n in range(5)]


@pytest.mark.parametrize("step", ["journal", "chunk", "finished"])
async def test_a_crash_between_two_steps_is_made_good(place: Place, step: str) -> None:
    """What is on the disk after a kill in each step: the next worker goes on from there."""
    batch = await place.accept(*LINES[:4])
    async with place.working():
        await place.ended(batch)
    storage, whole = place.batches.storage, place.results(batch)
    storage.remove(f"{batch.folder}/{FINISHED}")
    if step == "journal":  # some lines are done, the chunk is not
        storage.remove(f"{batch.folder}/{CHUNKS}")
        written = journal.Journal(storage, batch.folder, 0)
        written.append([orjson.dumps(result) + b"\n" for result in whole[1:3]])
        written.close()
    elif step == "chunk":  # the chunk is there, its journal too
        written = journal.Journal(storage, batch.folder, 0)
        written.append([orjson.dumps(whole[0]) + b"\n"])
        written.close()
    await place.broker.publish(
        QUEUE, [NewMessage(orjson.dumps({"tenant": "default", "batch": batch.id, "chunk": 0}))]
    )
    place.till.asked.clear()
    async with place.working():
        await place.ended(batch)
    assert sorted(place.till.asked) == (["q0", "q3"] if step == "journal" else [])
    assert place.results(batch) == whole
    assert journal.names(storage, batch.folder) == {}


async def test_what_the_queue_gave_up_becomes_error_lines(place: Place) -> None:
    batch = await place.accept(*LINES[:6])
    manifest = place.batches.storage.read(f"{batch.folder}/{MANIFEST}")
    place.batches.storage.remove(f"{batch.folder}/{MANIFEST}")  # as with a worker that looks elsewhere
    async with place.working() as worker:
        while len(await place.broker.dead_letters(QUEUE)) < 2:  # noqa: ASYNC110 - parked after their attempts
            await asyncio.sleep(0.05)
        await worker.bury()
        assert len(await place.broker.dead_letters(QUEUE)) == 2
        place.batches.storage.write(f"{batch.folder}/{MANIFEST}", manifest)
        await worker.bury()
        assert await place.broker.dead_letters(QUEUE) == []
    view = place.view(batch)
    assert (view["state"], view["failed"]) == ("failed", 6)
    assert "GENERATOR_BATCH_URL" in place.results(batch)[0]["error"]["detail"]


async def test_a_batch_whose_input_is_gone_ends(place: Place) -> None:
    batch = await place.accept(*LINES[:6])
    place.batches.storage.remove(f"{batch.folder}/{INPUT}")
    body = orjson.dumps({"tenant": "default", "batch": batch.id, "chunk": 0})
    assert place.worker()._buried(DeadLetter("1", body, "", 3, "its consumer died", 0.0))
    assert place.view(batch)["state"] == "failed"


async def test_a_message_that_is_none_of_ours_is_parked(place: Place) -> None:
    await place.broker.publish(QUEUE, [NewMessage(b"nonsense")])
    async with place.working() as worker:
        while not await place.broker.dead_letters(QUEUE):  # noqa: ASYNC110 - the queue has no event
            await asyncio.sleep(0.02)
        await worker.bury()
    assert len(await place.broker.dead_letters(QUEUE)) == 1
