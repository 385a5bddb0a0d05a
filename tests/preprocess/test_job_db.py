"""The job store: counts, cancelling, order of writes, ownership of bytes, restart."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path

import pytest

from ragline.errors import NotFound
from services.preprocess.job_db import JobDb
from services.preprocess.jobs import Job, NewDocument, Part, State, Work


@pytest.fixture
async def jobs(tmp_path: Path) -> AsyncIterator[JobDb]:
    store = JobDb(tmp_path / "jobs.db")
    yield store
    await store.close()


def documents(*names: str) -> list[NewDocument]:
    return [NewDocument(name, uri=f"file:///blobs/{name}", sha256="00") for name in names]


async def create(jobs: JobDb, *names: str, folder: str = "blobs") -> str:
    sent = [replace(each, uri=each.uri.replace("blobs", folder)) for each in documents(*names)]
    job_id = await jobs.create("default", "c", sent)
    await jobs.publish(job_id)
    return job_id


async def taken(jobs: JobDb, job_id: str, n: int = 0) -> Work:
    work = await jobs.begin(job_id, n)
    assert work is not None
    return work


async def test_a_job_goes_from_queued_to_done_with_the_errors_of_its_documents(jobs: JobDb) -> None:
    job_id = await create(jobs, "a", "b")
    assert (await jobs.get("default", job_id)).view()["state"] == "queued"
    await jobs.finish(await taken(jobs, job_id, 0), State.DONE)
    assert (await jobs.get("default", job_id)).view()["state"] == "running"
    await jobs.finish(await taken(jobs, job_id, 1), State.FAILED, "The PDF is locked.")
    view = (await jobs.get("default", job_id)).view()
    assert (view["state"], view["done"], view["total"]) == ("done", 2, 2)
    assert view["errors"] == [{"document_id": "b", "reason": "The PDF is locked."}]


async def test_a_job_whose_documents_all_failed_has_failed(jobs: JobDb) -> None:
    refused = [replace(each, uri="", reason="The file is empty.") for each in documents("a", "b")]
    job_id = await jobs.create("default", "c", refused)
    view = (await jobs.get("default", job_id)).view()
    assert (view["state"], view["done"], len(view["errors"])) == ("failed", 2, 2)


async def test_a_document_is_counted_once_however_often_its_message_comes(jobs: JobDb) -> None:
    job_id = await create(jobs, "a", "b")
    work = await taken(jobs, job_id)
    again = await taken(jobs, job_id)  # the process died: the same message once more
    assert again == work
    await jobs.finish(again, State.DONE)
    await jobs.finish(again, State.DONE)
    assert await jobs.begin(job_id, 0) is None
    view = (await jobs.get("default", job_id)).view()
    assert (view["state"], view["done"], view["total"]) == ("running", 1, 2)


async def test_a_file_of_many_is_counted_by_its_parts(jobs: JobDb) -> None:
    job_id = await create(jobs, "list.jsonl", "b")
    work = await taken(jobs, job_id)
    parts = [Part(1, "x"), Part(2, "y"), Part(3, "z")]
    assert await jobs.expand(work, parts) == [1, 2, 3]
    await jobs.finish(part(work, 2, "y"), State.FAILED, "Line 2 is no JSON.")
    assert await jobs.expand(work, parts) == [1, 3]
    view = (await jobs.get("default", job_id)).view()
    assert (view["done"], view["total"]) == (1, 4)
    for number, name in ((1, "x"), (3, "z")):
        await jobs.finish(part(work, number, name), State.DONE)
    assert await jobs.finish(work, State.DONE) == [work.document.uri]
    await jobs.finish(await taken(jobs, job_id, 1), State.DONE)
    view = (await jobs.get("default", job_id)).view()
    assert (view["state"], view["done"], view["total"], view["failed"]) == ("done", 4, 4, 1)
    assert sorted(await jobs.members("default", "c", "list.jsonl")) == ["x", "y", "z"]


def part(work: Work, number: int, name: str) -> Work:
    return replace(work, part=number, document=NewDocument(name))


async def test_the_parts_that_a_newer_file_does_not_hold_are_left_over(jobs: JobDb) -> None:
    first = await taken(jobs, await create(jobs, "list.jsonl"))
    await jobs.expand(first, [Part(1, "x"), Part(2, "y")])
    await jobs.finish(first, State.DONE)
    second = await taken(jobs, await create(jobs, "list.jsonl", folder="second"))
    await jobs.expand(second, [Part(1, "y"), Part(2, "z")])
    assert await jobs.leftover(second) == ["x"]
    await jobs.finish(second, State.DONE)
    assert sorted(await jobs.members("default", "c", "list.jsonl")) == ["y", "z"]


async def test_cancelling_skips_what_has_not_started_and_gives_back_its_bytes(jobs: JobDb) -> None:
    job_id = await create(jobs, "a", "b", "c")
    work = await taken(jobs, job_id)
    assert sorted(await jobs.cancel("default", job_id)) == ["file:///blobs/b", "file:///blobs/c"]
    assert (await jobs.get("default", job_id)).state == "running"
    await jobs.finish(work, State.DONE)
    view = (await jobs.get("default", job_id)).view()
    assert (view["state"], view["done"], view["total"]) == ("cancelled", 1, 3)
    assert await jobs.begin(job_id, 1) is None


async def test_a_document_in_hand_at_a_crash_is_not_taken_again_once_its_job_is_cancelled(jobs: JobDb) -> None:
    job_id = await create(jobs, "a")
    await taken(jobs, job_id)
    await jobs.cancel("default", job_id)
    assert await jobs.begin(job_id, 0) is None
    assert (await jobs.get("default", job_id)).state == "cancelled"


async def test_cancelling_an_ended_job_changes_nothing(jobs: JobDb) -> None:
    job_id = await create(jobs, "a")
    await jobs.finish(await taken(jobs, job_id), State.DONE)
    assert await jobs.cancel("default", job_id) == []
    assert (await jobs.get("default", job_id)).state == "done"


async def test_a_parked_document_is_an_error_until_its_message_is_replayed(jobs: JobDb) -> None:
    job_id = await create(jobs, "a")
    work = await taken(jobs, job_id)
    await jobs.park(job_id, 0, "The retriever does not answer.")
    parked = await jobs.get("default", job_id)
    assert (parked.state, parked.errors[0].reason) == ("failed", "The retriever does not answer.")
    assert await jobs.known_blobs([work.document.uri]) == {work.document.uri}
    assert await jobs.begin(job_id, 0) == work
    assert (await jobs.get("default", job_id)).state == "running"
    await jobs.finish(work, State.DONE)
    assert (await jobs.get("default", job_id)).view()["errors"] == []


async def test_a_delete_makes_every_write_before_it_stale_and_none_after_it(jobs: JobDb) -> None:
    early = await taken(jobs, await create(jobs, "a"))
    seq = await jobs.next_seq()
    late = await taken(jobs, await create(jobs, "a", folder="late"))
    assert await jobs.open_write("default", "c", "a")
    await jobs.tombstone("default", "c", "a", seq)
    assert not await jobs.current("default", "c", ["a"], early.seq)
    assert await jobs.current("default", "c", ["a"], late.seq)
    assert await jobs.current("default", "other", ["a"], early.seq)
    assert await jobs.current("tenant", "c", ["a"], early.seq)


async def test_an_older_write_is_stale_once_a_newer_one_was_stored(jobs: JobDb) -> None:
    early = await taken(jobs, await create(jobs, "a"))
    broken = await taken(jobs, await create(jobs, "a", folder="broken"))
    await jobs.finish(broken, State.FAILED, "Broken.")
    assert await jobs.current("default", "c", ["a"], early.seq)
    newer = [NewDocument("a", uri="file:///blobs/newer", sha256="01")]
    await jobs.finish(await taken(jobs, await jobs.create("default", "c", newer)), State.DONE)
    assert not await jobs.current("default", "c", ["a"], early.seq)


async def test_bytes_are_kept_while_their_document_is_the_newest(jobs: JobDb) -> None:
    first = await taken(jobs, await create(jobs, "a"))
    assert await jobs.finish(first, State.DONE) == []
    newer = [NewDocument("a", uri="file:///blobs/newer", sha256="01")]
    second = await taken(jobs, await jobs.create("default", "c", newer))
    assert await jobs.finish(second, State.DONE) == ["file:///blobs/a"]
    assert await jobs.garbage() == ["file:///blobs/a"]
    await jobs.forget_blobs(["file:///blobs/a", "file:///blobs/newer"])
    assert await jobs.garbage() == []
    assert await jobs.known_blobs(["file:///blobs/a", "file:///blobs/newer"]) == {"file:///blobs/newer"}
    uris, _ = await jobs.tombstone("default", "c", "a", await jobs.next_seq())
    assert uris == ["file:///blobs/newer"]


async def test_listeners_hear_of_changes_and_of_the_end(jobs: JobDb) -> None:
    job_id = await create(jobs, "a", "b")
    heard: list[Job] = []
    started = asyncio.Event()

    async def listen() -> None:
        async for job in jobs.watch("default", job_id):
            heard.append(job)
            started.set()

    listeners = [asyncio.create_task(listen()) for _ in range(3)]
    await started.wait()
    for n in range(2):
        await jobs.finish(await taken(jobs, job_id, n), State.DONE)
    await asyncio.gather(*listeners)
    assert [job.state for job in heard if job.ended] == ["done"] * 3
    assert not jobs.listeners
    assert [job.state async for job in jobs.watch("default", job_id)] == ["done"]


async def test_jobs_go_on_after_a_restart(tmp_path: Path) -> None:
    before = JobDb(tmp_path / "jobs.db")
    job_id = await before.create("default", "c", documents("a", "b"))
    await before.close()
    after = JobDb(tmp_path / "jobs.db")
    assert await after.unpublished() == [(job_id, [(0, "default", "c", "a"), (1, "default", "c", "b")])]
    await after.publish(job_id)
    assert await after.unpublished() == []
    await after.finish(await taken(after, job_id), State.DONE)
    assert (await after.get("default", job_id)).view()["done"] == 1
    await after.close()


async def test_a_refused_job_leaves_nothing(jobs: JobDb) -> None:
    job_id = await jobs.create("default", "c", documents("a"))
    assert await jobs.discard(job_id) == ["file:///blobs/a"]
    with pytest.raises(NotFound):
        await jobs.get("default", job_id)
    assert not await jobs.open_write("default", "c", "a")


async def test_jobs_are_forgotten_with_what_only_they_needed(jobs: JobDb) -> None:
    done, parked = await create(jobs, "a"), await create(jobs, "b")
    await jobs.finish(await taken(jobs, done), State.DONE)
    await taken(jobs, parked)
    await jobs.park(parked, 0, "Away.")
    open_job = await create(jobs, "d")
    await jobs.prune(time.time() + 1)
    for job_id in (done, parked):
        with pytest.raises(NotFound, match="forgotten"):
            await jobs.get("default", job_id)
    assert (await jobs.get("default", open_job)).state == "queued"
    assert await jobs.garbage() == ["file:///blobs/b"]
    assert await jobs.known_blobs(["file:///blobs/a"]) == {"file:///blobs/a"}


async def test_a_job_is_seen_by_its_own_tenant_only(jobs: JobDb) -> None:
    job_id = await create(jobs, "a")
    with pytest.raises(NotFound):
        await jobs.get("other", job_id)
    with pytest.raises(NotFound):
        await jobs.cancel("other", job_id)


async def test_a_change_is_whole_or_not_at_all(jobs: JobDb) -> None:
    twice = [NewDocument("a", uri="file:///same"), NewDocument("b", uri="file:///same")]
    with pytest.raises(Exception, match="UNIQUE"):
        await jobs.create("default", "c", twice)
    assert not await jobs.open_write("default", "c", "a")
    assert await create(jobs, "a")
