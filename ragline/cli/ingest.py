"""``ragline ingest``: sends files, skips those that the suite already has, shows how far it is."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from http import HTTPStatus

import orjson
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from ragline.cli.client import Client, Failure
from ragline.cli.files import File, batches, sha256

JOBS_IN_FLIGHT = 4
POLL_S = 0.3
MAX_WAITS = 100  # for room in the server's queue, each as long as the server says
ENDED = frozenset({"done", "failed", "cancelled"})
REFUSED_FOR_A_FILE = frozenset(
    {HTTPStatus.BAD_REQUEST, HTTPStatus.REQUEST_ENTITY_TOO_LARGE, HTTPStatus.UNSUPPORTED_MEDIA_TYPE}
)


@dataclass
class Report:
    """What became of the documents, of which a file may hold many. ``errors`` are (document id, reason)."""

    stored: int = 0
    unchanged: int = 0
    errors: list[tuple[str, str]] = field(default_factory=list)


class Interrupted(Failure):
    """The person at the terminal stopped it."""

    exit_status = 130


def ingest(client: Client, collection: str, files: Sequence[File], console: Console) -> Report:
    """Send what changed, wait until it is searchable, and say what became of it."""
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    with Progress(*columns, console=console) as progress:
        bar = progress.add_task("comparing", total=len(files))
        run = Run(client, collection, lambda done, total: progress.update(bar, completed=done, total=total))
        try:
            changed = run.skip_unchanged(files, known_hashes(client, collection))
            progress.update(bar, description="ingesting")
            for batch in batches(changed):
                run.send(batch)
            run.finish()
        except KeyboardInterrupt:
            raise Interrupted(
                "Stopped. What was sent goes in by itself; the same command sends the rest."
            ) from None
    return run.report


def known_hashes(client: Client, collection: str) -> dict[str, str]:
    """sha256 of the bytes behind each document that the collection holds and that is up to date."""
    known: dict[str, str] = {}
    after: str | None = None
    while True:
        try:
            page = client.get("/documents", collection=collection, after=after, limit=1000)
        except Failure as failure:
            if failure.status == HTTPStatus.NOT_FOUND:  # the first document makes the collection
                return known
            raise
        known.update((document["id"], document["sha256"]) for document in page["documents"])
        after = page["next"]
        if after is None:
            return known


class Run:
    """One ingest under way, a few jobs at a time; ``show`` is told how many documents are done, of how many."""

    def __init__(self, client: Client, collection: str, show: Callable[[int, int], None]) -> None:
        self.client = client
        self.collection = collection
        self.show = show
        self.report = Report()
        self.jobs: deque[tuple[str, int]] = deque()  # with the number of files of each
        self.done = self.total = 0

    def skip_unchanged(self, files: Sequence[File], known: Mapping[str, str]) -> list[File]:
        """The files that the collection does not have as they are now; one that cannot be read is an error."""
        changed = []
        self.total = len(files)
        for file in files:
            try:
                same = known.get(file.id) == sha256(file.path)
            except OSError as error:
                self.fail(file, unreadable(error))
                continue
            if same:
                self.report.unchanged += 1
                self.advance(1)
            else:
                changed.append(file)
        return changed

    def send(self, batch: Sequence[File]) -> None:
        """Post files as one job; where the whole request is refused, each file for itself."""
        if len(self.jobs) >= JOBS_IN_FLIGHT:
            self.follow()
        try:
            self.jobs.append((self.post(batch), len(batch)))
        except OSError as error:
            self.split(batch, unreadable(error))
        except Failure as failure:
            if failure.status not in REFUSED_FOR_A_FILE:
                raise
            self.split(batch, str(failure))

    def split(self, batch: Sequence[File], reason: str) -> None:
        """Send the files of a refused batch one by one; a single one is an error."""
        if len(batch) == 1:
            self.fail(batch[0], reason)
        else:
            for file in batch:
                self.send([file])

    def post(self, batch: Sequence[File]) -> str:
        """Post files, again while the server has no room for them; returns the job's id."""
        for _ in range(MAX_WAITS):
            try:
                return post(self.client, self.collection, batch)
            except Failure as failure:
                if failure.retry_after_s is None:
                    raise
                time.sleep(failure.retry_after_s)
        return post(self.client, self.collection, batch)

    def finish(self) -> None:
        """Wait for all jobs."""
        while self.jobs:
            self.follow()

    def follow(self) -> None:
        """Wait for the oldest job and count what became of its documents."""
        job_id, counted = self.jobs.popleft()
        done = 0
        while True:
            job = self.client.get(f"/jobs/{job_id}")
            self.total += job["total"] - counted  # it grows when a file turns out to hold many documents
            counted = job["total"]
            self.advance(job["done"] - done)
            done = job["done"]
            if job["state"] in ENDED:
                break
            time.sleep(POLL_S)
        self.report.unchanged += job["unchanged"]
        self.report.stored += job["done"] - job["unchanged"] - job["failed"]
        self.report.errors += [(error["document_id"], error["reason"]) for error in job["errors"]]

    def fail(self, file: File, reason: str) -> None:
        """Count a file that did not get as far as a job."""
        self.report.errors.append((file.id, reason))
        self.advance(1)

    def advance(self, count: int) -> None:
        """Some more documents are done."""
        self.done += count
        self.show(self.done, self.total)


def post(client: Client, collection: str, batch: Sequence[File]) -> str:
    """Post one batch; returns the job's id."""
    # The ids go beside the files, since a file name in a form may not hold every character that a path may.
    data = {"collection": collection, "ids": orjson.dumps([file.id for file in batch]).decode()}
    with ExitStack() as stack:
        files = [("files", (file.id, stack.enter_context(file.path.open("rb")))) for file in batch]
        answer = client.send("POST", "/documents", files=files, data=data)
    return str(answer["job_id"])


def unreadable(error: OSError) -> str:
    """Why a file could not be read."""
    return f"It cannot be read: {error.strerror or error}."
