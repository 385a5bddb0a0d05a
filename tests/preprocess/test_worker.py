"""The message door: what is tried again, what is given up, and the house in order after a crash."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import pytest

from ragline.broker import NewMessage
from ragline.errors import Overloaded, Unavailable
from ragline.v1 import retriever_pb2 as pb
from services.preprocess.cut import CutDocument, Rejected
from services.preprocess.intake import QUEUE, message
from services.preprocess.jobs import NewDocument
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


async def test_what_fails_for_a_while_is_tried_again(here: World, monkeypatch: pytest.MonkeyPatch) -> None:
    upsert, tries = here.parts.record.upsert, []

    async def away(request: pb.UpsertRequest) -> pb.UpsertResponse:
        tries.append(request.document.id)
        if len(tries) < 3:
            raise Overloaded("Full.")
        return await upsert(request)

    monkeypatch.setattr(here.parts.record, "upsert", away)
    await here.worker.start()
    job = await here.ended(await here.send(("a", "One.")))
    assert (job["state"], len(tries)) == ("done", 3)


@pytest.mark.parametrize(
    ("failure", "reason"),
    [
        (Unavailable("The retriever is away; start it."), "The retriever is away; start it."),
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


async def test_a_job_that_a_crash_kept_from_the_queue_is_published_at_the_start(here: World) -> None:
    blob = await here.parts.blobs.put(io.BytesIO(b"One."), 100)
    document = NewDocument("a", media_type="text/plain", uri=blob.uri, sha256=blob.sha256)
    job_id = await here.parts.jobs.create("default", "default", [document])
    await here.worker.start()
    assert (await here.ended(job_id))["state"] == "done"


async def test_bytes_that_nothing_names_are_removed_at_the_start(here: World) -> None:
    await here.parts.blobs.put(io.BytesIO(b"Orphan."), 100)
    folder = Path(here.parts.blobs.root)
    (folder / "half.part").write_bytes(b"Half an upl")
    job_id = await here.send(("a", "One."))
    await here.worker.start()
    assert (await here.ended(job_id))["state"] == "done"
    held = await here.parts.record.brief("default", "default", "a")
    assert held is not None
    assert await here.parts.blobs.uris() == [held.uri]


async def test_a_letter_that_the_queue_gave_up_by_itself_is_an_error_of_its_job(here: World) -> None:
    job_id = await here.send(("a", "One."))

    async def refuse(_: object) -> None:
        raise ConnectionError("gone")

    consumer = await here.opened.broker.consume(QUEUE, refuse, concurrency=1)
    while not await here.opened.broker.dead_letters(QUEUE):
        await here.parts.jobs.get("default", job_id)
    await consumer.stop()
    await here.worker.keep_house()
    job = (await here.parts.jobs.get("default", job_id)).view()
    assert (job["state"], job["errors"][0]["document_id"]) == ("failed", "a")


async def test_a_message_of_a_forgotten_job_is_passed_over(here: World) -> None:
    await here.opened.broker.publish(QUEUE, [message("job-gone", 0, "default", "default", "a")])
    await here.worker.start()
    assert (await here.ended(await here.send(("a", "One."))))["state"] == "done"
    await here.worker.stop()
    assert await here.opened.broker.dead_letters(QUEUE) == []


async def test_a_message_that_is_none_of_ours_is_parked(here: World) -> None:
    await here.opened.broker.publish(QUEUE, [NewMessage(b"not json", key="default/default/a")])
    await here.worker.start()
    assert (await here.ended(await here.send(("a", "One."))))["state"] == "done"
    await here.worker.stop()
    assert len(await here.opened.broker.dead_letters(QUEUE)) == 1


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
    assert await here.ids() == ["d0"]
    assert len(await here.parts.blobs.uris()) == 1


async def test_a_restart_goes_on_with_what_was_queued(tmp_path: Path) -> None:
    async with retriever(tmp_path / "retriever") as address:
        async with world(tmp_path / "p", address) as before:
            job_id = await before.send(("a", "One."), ("b", "Two."))
            await before.ingest.run(job_id, 0)
        async with world(tmp_path / "p", address) as after:
            await after.worker.start()
            job = await after.ended(job_id)
            assert (job["state"], job["done"], job["total"]) == ("done", 2, 2)
            assert await after.ids() == ["a", "b"]
