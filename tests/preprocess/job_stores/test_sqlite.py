"""Jobs in a file: the contract, restarts, what is forgotten, and files of an earlier version."""

from __future__ import annotations

import sqlite3
import time
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from ragline.errors import NotFound, Unavailable
from ragline.settings import SettingsError
from services.preprocess import job_stores
from services.preprocess.job_stores import JobStore
from services.preprocess.jobs import State
from tests.preprocess.job_stores.contract import JobStoreContract, MakeStore, documents, head, numbers, work


@pytest.fixture
async def make_store(tmp_path: Path) -> AsyncIterator[MakeStore]:
    made: list[JobStore] = []

    def make() -> JobStore:
        made.append(job_stores.open(f"sqlite://{tmp_path}/jobs.db", ttl_s=60))
        return made[-1]

    yield make
    for store in made:
        await store.close()


class TestSqlite(JobStoreContract):
    """The contract over a file that several processes have open."""


async def test_jobs_go_on_after_a_restart(make_store: MakeStore) -> None:
    before, job = make_store(), head()
    await before.create(job, documents(job))
    await before.begin(work(job))
    await before.close()
    after = make_store()
    assert await after.begin(work(job)) is State.RUNNING
    await after.finish(work(job), State.DONE)
    assert await numbers(after, job) == ("running", 1, 2)
    assert await after.open_jobs() == [job.id]


async def test_jobs_are_forgotten_some_time_after_their_end(make_store: MakeStore) -> None:
    jobs, done, still = make_store(), head("job-1", 1), head("job-2", 1)
    for job in (done, still):
        await jobs.create(job, documents(job))
    await jobs.finish(work(done), State.DONE)
    await jobs.prune(time.time() - 60)
    assert await numbers(jobs, done) == ("done", 1, 1)
    await jobs.prune(time.time() + 1)
    with pytest.raises(NotFound, match="forgotten"):
        await jobs.get("default", done.id)
    assert await numbers(jobs, still) == ("queued", 0, 1)


async def test_a_file_that_cannot_be_written_is_said_to_be_away(make_store: MakeStore, tmp_path: Path) -> None:
    jobs, job = make_store(), head()
    await jobs.create(job, documents(job))
    other = sqlite3.connect(tmp_path / "jobs.db")
    other.execute("DROP TABLE documents")
    other.close()
    with pytest.raises(Unavailable, match=r"jobs\.db"):
        await jobs.begin(work(job))


OLD = """
CREATE TABLE jobs (id TEXT PRIMARY KEY); CREATE TABLE stamps (seq INTEGER);
CREATE TABLE documents (job_id TEXT, n INTEGER, state TEXT);
CREATE VIEW open_documents AS SELECT * FROM documents WHERE state IN ('queued', 'running');
"""


def old_file(path: Path, state: str) -> str:
    connection = sqlite3.connect(path)
    connection.executescript(OLD)
    with connection:
        connection.execute("INSERT INTO documents VALUES ('job-0', 0, ?)", (state,))
    connection.close()
    return f"sqlite://{path}"


async def test_a_file_of_the_first_version_is_taken_over_when_all_in_it_has_ended(tmp_path: Path) -> None:
    jobs = job_stores.open(old_file(tmp_path / "jobs.db", "done"), ttl_s=60)
    job = head()
    await jobs.create(job, documents(job))
    assert await numbers(jobs, job) == ("queued", 0, 2)
    await jobs.close()


def test_a_file_of_the_first_version_with_open_documents_stops_the_start(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match="1 of its documents"):
        job_stores.open(old_file(tmp_path / "jobs.db", "running"), ttl_s=60)


@pytest.mark.parametrize("content", [b"this is no database" * 100, None])
def test_a_file_of_another_kind_stops_the_start(tmp_path: Path, content: bytes | None) -> None:
    file = tmp_path / "jobs.db"
    if content:
        file.write_bytes(content)
    else:
        connection = sqlite3.connect(file)
        connection.execute("PRAGMA user_version = 99")
        connection.close()
    with pytest.raises(SettingsError, match=r"jobs\.db"):
        job_stores.open(f"sqlite://{file}", ttl_s=60)


@pytest.mark.parametrize("url", ["nowhere://x", "sqlite://", "sqlite:///x.db?size=3"])
def test_a_bad_url_stops_the_start(url: str) -> None:
    with pytest.raises(SettingsError):
        job_stores.open(url, ttl_s=60)
