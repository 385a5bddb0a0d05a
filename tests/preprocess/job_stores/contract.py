"""What every job store promises. A store's own test module subclasses ``JobStoreContract`` and gives stores."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from dataclasses import replace

import pytest

from ragline.errors import NotFound
from services.preprocess.job_stores import JobStore
from services.preprocess.jobs import MAX_ERRORS, Head, Job, NewDocument, State, Work

MakeStore = Callable[[], JobStore]
"""Each call gives another process' view of the same jobs."""


def head(name: str = "job-1", total: int = 2, tenant: str = "default", collection: str = "c") -> Head:
    return Head(name, tenant, collection, total, 1_700_000_000.5)


def work(job: Head, n: int = 0, name: str = "") -> Work:
    return Work(job, n, 100 + n, NewDocument(name or f"d{n}"))


def documents(job: Head) -> list[NewDocument]:
    return [NewDocument(f"d{n}") for n in range(job.total)]


async def numbers(jobs: JobStore, job: Head) -> tuple[str, int, int]:
    view = (await jobs.get(job.tenant, job.id)).view()
    return view["state"], view["done"], view["total"]


class JobStoreContract:
    """Subclass it with a fixture ``make_store``."""

    @pytest.fixture
    def jobs(self, make_store: MakeStore) -> JobStore:
        return make_store()

    @pytest.fixture
    async def job(self, jobs: JobStore) -> Head:
        made = head()
        await jobs.create(made, documents(made))
        return made

    async def test_a_job_goes_from_queued_to_done_with_its_errors(self, jobs: JobStore, job: Head) -> None:
        assert await numbers(jobs, job) == ("queued", 0, 2)
        assert await jobs.begin(work(job)) is State.RUNNING
        assert await numbers(jobs, job) == ("running", 0, 2)
        await jobs.finish(work(job), State.DONE)
        assert await jobs.begin(work(job, 1)) is State.RUNNING
        await jobs.finish(work(job, 1), State.FAILED, "The PDF is locked.")
        view = (await jobs.get("default", job.id)).view()
        assert (view["state"], view["done"], view["failed"], view["unchanged"]) == ("done", 2, 1, 0)
        assert view["errors"] == [{"document_id": "d1", "reason": "The PDF is locked."}]
        assert (view["collection"], view["created_at"]) == ("c", job.created_at)
        assert view["finished_at"] == pytest.approx(time.time(), abs=60)
        assert "restored" not in view

    async def test_a_job_whose_documents_were_all_refused_has_failed(self, jobs: JobStore) -> None:
        made = head()
        await jobs.create(made, [replace(each, reason="The file is empty.") for each in documents(made)])
        view = (await jobs.get("default", made.id)).view()
        assert (view["state"], view["done"], len(view["errors"])) == ("failed", 2, 2)
        assert await jobs.begin(work(made)) is State.FAILED
        assert await jobs.open_jobs() == []

    async def test_the_first_end_of_a_document_counts(self, jobs: JobStore, job: Head) -> None:
        for _ in range(2):  # two workers have the same message
            assert await jobs.begin(work(job)) is State.RUNNING
        await jobs.finish(work(job), State.DONE)
        await jobs.finish(work(job), State.FAILED, "Too late.")
        await jobs.park(work(job), "Too late.")
        assert await jobs.begin(work(job)) is State.DONE
        assert await numbers(jobs, job) == ("running", 1, 2)
        assert (await jobs.get("default", job.id)).errors == ()

    async def test_a_file_of_many_is_counted_by_its_parts(self, jobs: JobStore, job: Head) -> None:
        await jobs.begin(work(job))
        assert await jobs.expand(work(job), 3) == [1, 2, 3]
        await jobs.finish(part(job, 2, "y"), State.FAILED, "Line 2 is no JSON.")
        assert await numbers(jobs, job) == ("running", 1, 4)
        assert await jobs.expand(work(job), 3) == [1, 3]  # the worker died: the same message once more
        for number in (1, 3, 3):
            await jobs.finish(part(job, number, "x"), State.DONE)
        await jobs.begin(work(job, 1))
        await jobs.finish(work(job, 1), State.DONE)
        assert await numbers(jobs, job) == ("running", 4, 4)
        await jobs.finish(work(job), State.DONE)
        found = await jobs.get("default", job.id)
        assert (found.state, found.total, found.count(State.DONE), found.count(State.FAILED)) == ("done", 4, 3, 1)
        assert [error.document_id for error in found.errors] == ["y"]

    async def test_a_file_that_ends_takes_its_open_parts_along(self, jobs: JobStore, job: Head) -> None:
        await jobs.begin(work(job))
        await jobs.expand(work(job), 3)
        await jobs.finish(part(job, 1, "x"), State.DONE)
        await jobs.cancel("default", job.id)
        assert await jobs.cancelled(job.id)
        await jobs.finish(work(job), State.CANCELLED)
        found = await jobs.get("default", job.id)
        assert (found.state, found.count(State.CANCELLED), found.count(State.DONE)) == ("cancelled", 3, 1)

    async def test_an_empty_file_of_many_counts_for_nothing(self, jobs: JobStore, job: Head) -> None:
        await jobs.begin(work(job))
        assert await jobs.expand(work(job), 0) == []
        await jobs.finish(work(job), State.DONE)
        assert await numbers(jobs, job) == ("queued", 0, 1)

    async def test_cancelling_skips_what_has_not_started(self, jobs: JobStore, make_store: MakeStore) -> None:
        job = head(total=3)
        await jobs.create(job, documents(job))
        await jobs.begin(work(job))
        await make_store().cancel("default", job.id)
        assert await jobs.cancelled(job.id)
        assert await numbers(jobs, job) == ("running", 0, 3)
        await jobs.finish(work(job), State.DONE)
        assert await numbers(jobs, job) == ("cancelled", 1, 3)
        assert await jobs.begin(work(job, 1)) is State.CANCELLED

    async def test_what_was_in_hand_is_not_taken_again_once_cancelled(self, jobs: JobStore, job: Head) -> None:
        await jobs.begin(work(job))
        await jobs.cancel("default", job.id)
        assert await jobs.begin(work(job)) is State.CANCELLED
        assert await numbers(jobs, job) == ("cancelled", 0, 2)

    async def test_cancelling_an_ended_job_changes_nothing(self, jobs: JobStore) -> None:
        job = head(total=1)
        await jobs.create(job, documents(job))
        await jobs.begin(work(job))
        await jobs.finish(work(job), State.DONE)
        await jobs.cancel("default", job.id)
        assert await numbers(jobs, job) == ("done", 1, 1)

    async def test_a_parked_document_is_an_error_until_its_message_is_replayed(self, jobs: JobStore) -> None:
        job = head(total=1)
        await jobs.create(job, documents(job))
        await jobs.begin(work(job))
        for _ in range(2):
            await jobs.park(work(job), "Something broke.")
        found = await jobs.get("default", job.id)
        assert (found.state, found.errors[0].reason) == ("failed", "Something broke.")
        assert not await jobs.open_write("default", "c", "d0")
        assert await jobs.begin(work(job)) is State.RUNNING
        assert (await jobs.get("default", job.id)).errors == ()
        assert await numbers(jobs, job) == ("running", 0, 1)
        await jobs.finish(work(job), State.DONE)
        assert await numbers(jobs, job) == ("done", 1, 1)

    async def test_a_parked_file_of_many_goes_on_with_its_open_parts(self, jobs: JobStore) -> None:
        job = head(total=1)
        await jobs.create(job, documents(job))
        await jobs.begin(work(job))
        await jobs.expand(work(job), 3)
        await jobs.finish(part(job, 1, "x"), State.DONE)
        await jobs.park(work(job), "Away.")
        found = await jobs.get("default", job.id)
        assert (found.ended, found.count(State.PARKED), found.total) == (True, 2, 3)
        assert [(error.document_id, error.reason) for error in found.errors] == [("d0", "Away.")]
        await jobs.begin(work(job))
        assert await jobs.expand(work(job), 3) == [2, 3]
        for number in (2, 3):
            await jobs.finish(part(job, number, "y"), State.DONE)
        await jobs.finish(work(job), State.DONE)
        assert await numbers(jobs, job) == ("done", 3, 3)
        assert (await jobs.get("default", job.id)).errors == ()

    async def test_open_writes_are_known_by_document_and_tenant(self, jobs: JobStore, job: Head) -> None:
        assert await jobs.open_write("default", "c", "d0")
        await jobs.begin(work(job))
        assert await jobs.open_write("default", "c", "d0")
        for elsewhere in (("default", "c", "x"), ("default", "other", "d0"), ("other", "c", "d0")):
            assert not await jobs.open_write(*elsewhere)
        await jobs.finish(work(job), State.DONE)
        assert not await jobs.open_write("default", "c", "d0")
        await jobs.cancel("default", job.id)
        assert not await jobs.open_write("default", "c", "d1")

    async def test_a_lost_record_begins_anew_with_what_is_reported(self, jobs: JobStore) -> None:
        lost = head(total=3)
        assert await jobs.begin(work(lost, 1)) is State.RUNNING
        assert await numbers(jobs, lost) == ("running", 0, 3)
        await jobs.finish(work(lost, 1), State.DONE)
        await jobs.finish(work(lost, 2), State.FAILED, "Broken.")
        assert await jobs.open_jobs() == [lost.id]
        view = (await jobs.get("default", lost.id)).view()
        assert (view["state"], view["done"], view["restored"], view["unreported"]) == ("running", 2, True, 0)

    async def test_a_job_that_is_written_down_after_its_first_report_is_whole(self, jobs: JobStore) -> None:
        job = head()
        await jobs.begin(work(job))
        await jobs.finish(work(job), State.UNCHANGED)
        await jobs.create(job, [NewDocument("d0"), NewDocument("d1", reason="Too large.")])
        view = (await jobs.get("default", job.id)).view()
        assert (view["state"], view["done"], view["unchanged"], view["failed"]) == ("done", 2, 1, 1)
        assert "restored" not in view

    async def test_what_is_never_reported_ends_when_the_queue_is_empty(self, jobs: JobStore) -> None:
        lost = head(total=3)
        await jobs.begin(work(lost, 1))
        version = await jobs.version(lost.id)
        await jobs.assume(lost.id, running=False)
        assert await jobs.version(lost.id) > version
        assert await numbers(jobs, lost) == ("running", 2, 3)
        version = await jobs.version(lost.id)
        await jobs.assume(lost.id, running=False)
        assert await jobs.version(lost.id) == version
        await jobs.assume(lost.id, running=True)
        view = (await jobs.get("default", lost.id)).view()
        assert (view["state"], view["done"], view["unreported"]) == ("done", 3, 3)
        assert await jobs.open_jobs() == []

    async def test_a_report_that_comes_after_all_still_counts(self, jobs: JobStore) -> None:
        lost = head()
        await jobs.begin(work(lost))
        await jobs.assume(lost.id, running=True)
        await jobs.finish(work(lost), State.FAILED, "Broken.")
        assert await jobs.begin(work(lost, 1)) is State.RUNNING
        assert await jobs.open_jobs() == [lost.id]
        await jobs.finish(work(lost, 1), State.DONE)
        view = (await jobs.get("default", lost.id)).view()
        assert (view["state"], view["done"], view["failed"], view["unreported"]) == ("done", 2, 1, 0)

    async def test_nothing_is_assumed_of_an_unknown_or_an_ended_job(self, jobs: JobStore, job: Head) -> None:
        await jobs.assume("job-never", running=True)
        with pytest.raises(NotFound):
            await jobs.get("default", "job-never")
        for n in range(2):
            await jobs.finish(work(job, n), State.DONE)
        await jobs.assume(job.id, running=True)
        assert (await jobs.get("default", job.id)).count(State.DONE) == 2

    async def test_listeners_hear_of_changes_wherever_they_are_made(
        self, jobs: JobStore, job: Head, make_store: MakeStore
    ) -> None:
        elsewhere, heard, started = make_store(), list[Job](), asyncio.Event()

        async def listen() -> None:
            async for each in jobs.watch("default", job.id):
                heard.append(each)
                started.set()

        listeners = [asyncio.create_task(listen()) for _ in range(3)]
        await started.wait()
        for n in range(2):
            await elsewhere.begin(work(job, n))
            await elsewhere.finish(work(job, n), State.DONE)
        await asyncio.gather(*listeners)
        assert [each.state for each in heard if each.ended] == ["done"] * 3
        assert [each.state async for each in jobs.watch("default", job.id)] == ["done"]

    async def test_only_the_first_thousand_errors_are_kept(self, jobs: JobStore) -> None:
        job = head(total=1)
        await jobs.begin(work(job))
        await jobs.expand(work(job), MAX_ERRORS + 5)
        for number in range(1, MAX_ERRORS + 6):
            await jobs.finish(part(job, number, f"p{number}"), State.FAILED, "Bad.")
        found = await jobs.get("default", job.id)
        assert (len(found.errors), found.count(State.FAILED)) == (MAX_ERRORS, MAX_ERRORS + 5)
        assert (found.errors[0].document_id, found.errors[-1].document_id) == ("p1", f"p{MAX_ERRORS}")

    async def test_a_job_is_seen_by_its_own_tenant_only(self, jobs: JobStore, job: Head) -> None:
        with pytest.raises(NotFound, match="forgotten"):
            await jobs.get("other", job.id)
        with pytest.raises(NotFound):
            await jobs.cancel("other", job.id)
        assert not await jobs.cancelled(job.id)

    async def test_a_large_job_is_noted_document_by_document(self, jobs: JobStore) -> None:
        job = head(total=2000)
        await jobs.create(job, documents(job))
        for n in range(0, 2000, 100):
            await jobs.begin(work(job, n))
            await jobs.finish(work(job, n), State.DONE)
        assert await numbers(jobs, job) == ("running", 20, 2000)
        await jobs.cancel("default", job.id)
        assert await numbers(jobs, job) == ("cancelled", 20, 2000)

    async def test_many_workers_at_once_count_right(self, make_store: MakeStore) -> None:
        job, stores = head(total=40), [make_store() for _ in range(4)]

        async def run(store: JobStore) -> None:
            for n in range(40):  # each message comes to every worker
                if await store.begin(work(job, n)) is State.RUNNING:
                    await store.finish(work(job, n), State.DONE)

        await asyncio.gather(*(run(store) for store in stores))
        assert await numbers(stores[0], job) == ("done", 40, 40)


def part(job: Head, number: int, name: str) -> Work:
    return replace(work(job), part=number, document=NewDocument(name))
