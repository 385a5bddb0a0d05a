"""The message door: what is tried again, what is given up, and the house in order after a crash."""

from __future__ import annotations

import asyncio
import random
import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from ragline.broker import NewMessage
from ragline.errors import Overloaded, TimedOut, Unavailable
from ragline.v1 import retriever_pb2 as pb
from services.preprocess.cut import CutDocument, Rejected
from services.preprocess.messages import QUEUE, packed
from services.preprocess.record import Interrupted
from services.preprocess.worker import MAX_INTERRUPTIONS
from tests.preprocess.world import World, retriever, world


async def test_documents_go_in_while_the_worker_runs(here: World) -> None:
    await here.worker.start()
    job_id = await here.send(*((f"d{n}", f"Text number {n}.") for n in range(20)))
    job = await here.ended(job_id)
    assert (job["state"], job["done"], job["total"], job["errors"]) == ("done", 20, 20, [])
    assert len(await here.ids()) == 20
    await here.worker.stop()
    assert await here.opened.broker.depth(QUEUE) == 0


async def test_writes_of_one_document_are_applied_in_their_order(here: World) -> None:
    jobs = [await here.send(("a", f"Version {n}.")) for n in range(10)]
    await here.worker.start()
    for job_id in jobs:
        assert (await here.ended(job_id))["state"] == "done"
    assert (await here.parts.record.get("default", "default", "a")).document.source == "Version 9."


async def emptied(here: World) -> None:
    """Return once the queue holds nothing, in hand or not."""
    while await here.opened.broker.depth(QUEUE):
        await here.parts.jobs.open_jobs()


@pytest.mark.parametrize("kind", [Overloaded, Unavailable])
async def test_what_is_away_is_waited_for_and_counts_as_no_attempt(
    here: World, monkeypatch: pytest.MonkeyPatch, kind: type[Overloaded | Unavailable]
) -> None:
    monkeypatch.setattr("services.preprocess.worker.FIRST_PAUSE_S", 0.01)
    upsert, tries = here.parts.record.upsert, []

    async def away(request: pb.UpsertRequest) -> pb.UpsertResponse:
        tries.append(request.document.id)
        if len(tries) < 6:
            raise kind("Not now.", retry_after_s=0.01)
        return await upsert(request)

    monkeypatch.setattr(here.parts.record, "upsert", away)
    await here.worker.start()
    job = await here.ended(await here.send(("a", "One.")))
    assert (job["state"], len(tries), here.worker.max_attempts) == ("done", 6, 3)


async def test_what_waits_for_long_goes_back_to_the_queue_and_is_no_dead_letter(
    here: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("services.preprocess.worker.WAIT_S", 0.05)
    upsert, tries = here.parts.record.upsert, []

    async def away(request: pb.UpsertRequest) -> pb.UpsertResponse:
        tries.append(request.document.id)
        if len(tries) < 5:
            raise TimedOut("It hangs.")
        return await upsert(request)

    async def silent() -> None:
        raise TimedOut("It hangs.")

    monkeypatch.setattr(here.parts.record, "upsert", away)
    monkeypatch.setattr(here.parts.record, "check", silent)
    await here.worker.start()
    job = await here.ended(await here.send(("a", "One.")))
    assert (job["state"], len(tries)) == ("done", 5)
    assert await here.opened.broker.dead_letters(QUEUE) == []


async def test_an_overload_that_does_not_pass_is_a_failure(here: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("services.preprocess.worker.WAIT_S", 0.1)
    monkeypatch.setattr("services.preprocess.worker.FIRST_PAUSE_S", 0.01)

    async def full(_: object) -> None:
        raise Overloaded("There are too many collections (RETRIEVER_MAX_COLLECTIONS).", retry_after_s=0.01)

    monkeypatch.setattr(here.parts.record, "upsert", full)
    await here.worker.start()
    job = await here.ended(await here.send(("a", "One.")))
    assert (job["state"], job["errors"][0]["reason"]) == (
        "failed",
        "There are too many collections (RETRIEVER_MAX_COLLECTIONS).",
    )


async def test_a_document_that_ends_the_retriever_is_given_up(
    here: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("services.preprocess.worker.FIRST_PAUSE_S", 0.0)
    upsert, stored = here.parts.record.upsert, []

    async def crash(request: pb.UpsertRequest) -> pb.UpsertResponse:
        stored.append(request.document.id)
        if request.document.id == "deadly":
            raise Interrupted("The retriever does not answer.", retry_after_s=0)
        return await upsert(request)

    monkeypatch.setattr(here.parts.record, "upsert", crash)
    await here.worker.start()
    job = await here.ended(await here.send(("deadly", "One."), ("a", "Two.")))
    assert (job["state"], [error["document_id"] for error in job["errors"]]) == ("done", ["deadly"])
    assert stored.count("deadly") == MAX_INTERRUPTIONS + here.worker.max_attempts


async def test_a_worker_that_stops_waits_for_nothing(here: World, monkeypatch: pytest.MonkeyPatch) -> None:
    waiting = asyncio.Event()

    async def away(_: object) -> None:
        waiting.set()
        raise Unavailable("Away.", retry_after_s=30)

    monkeypatch.setattr(here.parts.record, "upsert", away)
    await here.worker.start()
    await here.send(("a", "One."))
    await waiting.wait()
    await here.worker.stop()
    assert await here.opened.broker.depth(QUEUE) == 1


async def test_what_breaks_is_tried_again(here: World, monkeypatch: pytest.MonkeyPatch) -> None:
    upsert, tries = here.parts.record.upsert, []

    async def broken(request: pb.UpsertRequest) -> pb.UpsertResponse:
        tries.append(request.document.id)
        if len(tries) < 3:
            raise OSError("broken")
        return await upsert(request)

    monkeypatch.setattr(here.parts.record, "upsert", broken)
    await here.worker.start()
    job = await here.ended(await here.send(("a", "One.")))
    assert (job["state"], len(tries)) == ("done", 3)


@pytest.mark.parametrize(
    ("failure", "reason"),
    [
        (TimedOut("The retriever takes too long for this."), "The retriever takes too long for this."),
        (KeyError("secret"), "Something went wrong here (KeyError); the log has the request id."),
    ],
)
async def test_what_fails_for_good_is_a_dead_letter_that_can_be_replayed(
    here: World, monkeypatch: pytest.MonkeyPatch, failure: Exception, reason: str
) -> None:
    async def away(_: object) -> None:
        raise failure

    with monkeypatch.context() as patched:
        patched.setattr(here.parts.record, "upsert", away)
        await here.worker.start()
        job_id = await here.send(("a", "One."))
        job = await here.ended(job_id)
    assert (job["state"], job["errors"]) == ("failed", [{"document_id": "a", "reason": reason}])
    await here.worker.stop()  # the letter is parked once the handler has returned
    letters = await here.opened.broker.dead_letters(QUEUE)
    assert [(letter.attempts, letter.reason) for letter in letters] == [(3, reason)]
    await here.opened.broker.replay(QUEUE)
    await here.worker.start()
    now = await here.parts.jobs.get("default", job_id)
    while now.state != "done":
        now = await here.parts.jobs.get("default", job_id)
    assert now.errors == ()
    assert await here.ids() == ["a"]


async def test_what_is_wrong_in_itself_is_tried_once(here: World, monkeypatch: pytest.MonkeyPatch) -> None:
    cut, tries = here.parts.sandbox.cut, []

    async def counted(data: bytes, **options: Any) -> list[CutDocument | Rejected]:
        tries.append(data)
        return await cut(data, **options)

    monkeypatch.setattr(here.parts.sandbox, "cut", counted)
    await here.worker.start()
    job = await here.ended(await here.send_files(("bad.pdf", b"%PDF-1.7 broken")))
    assert (job["state"], len(tries)) == ("failed", 1)
    await here.worker.stop()
    assert await here.opened.broker.dead_letters(QUEUE) == []
    assert await here.parts.blobs.uris() == []


async def test_a_letter_that_the_queue_gave_up_by_itself_is_an_error_of_its_job(here: World) -> None:
    job_id = await here.send(("a", "One."))
    await here.opened.broker.publish(QUEUE, [NewMessage(b"none of ours")])

    async def refuse(_: object) -> None:
        raise ConnectionError("gone")

    consumer = await here.opened.broker.consume(QUEUE, refuse, concurrency=1)
    await emptied(here)
    await consumer.stop()
    await here.worker.housekeeping.note_letters()
    job = (await here.parts.jobs.get("default", job_id)).view()
    assert (job["state"], job["errors"][0]["document_id"]) == ("failed", "a")


async def test_a_message_that_is_none_of_ours_is_parked_at_once(here: World) -> None:
    await here.opened.broker.publish(QUEUE, [NewMessage(b"not json"), NewMessage(b'{"job_id": "old", "n": 0}')])
    await here.worker.start()
    assert (await here.ended(await here.send(("a", "One."))))["state"] == "done"
    await emptied(here)
    letters = await here.opened.broker.dead_letters(QUEUE)
    assert [letter.attempts for letter in letters] == [1, 1]
    assert all("send the document again" in letter.reason for letter in letters)


async def test_messages_that_come_twice_and_in_the_wrong_order_do_no_harm(here: World) -> None:
    old, new = await here.send(("a", "Old.")), await here.send(("a", "New."), ("b", "Two."))
    works = list(here.published.values())
    again = [packed(work, "") for work in reversed(works)] * 2
    await here.opened.broker.publish(QUEUE, [NewMessage(message.body) for message in again])  # no key, no order
    here.worker.concurrency = 8
    await here.worker.start()
    for job_id, total in ((old, 1), (new, 2)):
        job = await here.ended(job_id)
        assert (job["state"], job["done"], job["total"], job["errors"]) == ("done", total, total, [])
    await emptied(here)
    assert (await here.parts.record.get("default", "default", "a")).document.source == "New."
    assert await here.ids() == ["a", "b"]
    assert len(await here.parts.blobs.uris()) == 2
    assert await here.opened.broker.dead_letters(QUEUE) == []


async def test_a_clock_that_jumps_changes_nothing(here: World, monkeypatch: pytest.MonkeyPatch) -> None:
    dice = random.Random(3)

    def jumping() -> float:
        """Back before the files were written, or on past every age and time to live."""
        return time.time() + dice.uniform(-10, 10) * 365 * 86_400

    clock = SimpleNamespace(time=jumping, monotonic=time.monotonic)
    for module in ("intake", "housekeeping", "job_stores._sql"):
        monkeypatch.setattr(f"services.preprocess.{module}.time", clock)
    monkeypatch.setattr(here.opened.broker, "clock", jumping)
    here.worker.housekeeping.orphan_age_s = 3600.0
    await here.worker.start()
    jobs = [await here.send(("a", f"Version {n}."), (f"d{n}", "Text.")) for n in range(20)]
    await here.documents.delete("default", "default", "d3")
    for job_id in jobs:
        job = await here.ended(job_id)
        assert (job["state"], job["done"], job["errors"]) == ("done", 2, [])
        await here.worker.housekeeping.sweep()
    assert (await here.parts.record.get("default", "default", "a")).document.source == "Version 19."
    assert await here.ids() == sorted(["a", *(f"d{n}" for n in range(20) if n != 3)])
    await emptied(here)
    assert len(await here.parts.blobs.uris()) == 20


async def test_a_cancelled_job_skips_what_has_not_started(here: World, monkeypatch: pytest.MonkeyPatch) -> None:
    upsert = here.parts.record.upsert

    async def then_cancel(request: pb.UpsertRequest) -> pb.UpsertResponse:
        answer = await here.client.delete(f"/jobs/{job_id}")
        assert answer.status_code == 200
        return await upsert(request)

    monkeypatch.setattr(here.parts.record, "upsert", then_cancel)
    here.worker.concurrency = 1
    job_id = await here.send(*((f"d{n}", f"Text {n}.") for n in range(5)))
    await here.worker.start()
    job = await here.ended(job_id)
    assert (job["state"], job["done"], job["total"]) == ("cancelled", 1, 5)
    await emptied(here)
    assert await here.ids() == ["d0"]
    assert len(await here.parts.blobs.uris()) == 1


async def test_a_restart_goes_on_with_what_was_queued(tmp_path: Path) -> None:
    async with retriever(tmp_path / "retriever") as address:
        async with world(tmp_path / "p", address) as before:
            job_id = await before.send(("a", "One."), ("b", "Two."))
            await before.run(job_id, 0)
        async with world(tmp_path / "p", address) as after:
            await after.worker.start()
            job = await after.ended(job_id)
            assert (job["state"], job["done"], job["total"]) == ("done", 2, 2)
            assert await after.ids() == ["a", "b"]
