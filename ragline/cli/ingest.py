"""``ragline ingest``: sends files, skips those that the suite already has, shows how far it is."""

from __future__ import annotations

import hashlib
import time
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from http import HTTPStatus
from pathlib import Path
from typing import Any

from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from ragline.cli.client import Client, Failure

SUFFIXES = frozenset(
    {
        ".md",
        ".markdown",
        ".txt",
        ".text",
        ".rst",
        ".html",
        ".htm",
        ".pdf",
        ".docx",
        ".json",
        ".jsonl",
        ".ndjson",
        ".csv",
        ".tsv",
    }
)
BATCH_FILES = 32
BATCH_BYTES = 16_000_000
JOBS_IN_FLIGHT = 4
POLL_S = 0.3
ENDED = frozenset({"done", "failed", "cancelled"})


@dataclass(frozen=True)
class File:
    """A file to send; ``id`` is its path as the collection knows it."""

    path: Path
    id: str


@dataclass
class Report:
    """What became of the files; ``errors`` are (document id, reason)."""

    sent: int = 0
    unchanged: int = 0
    errors: list[tuple[str, str]] = field(default_factory=list)


def find_files(paths: Iterable[Path]) -> list[File]:
    """The files at ``paths``; folders are searched for suffixes that are known, hidden ones left out."""
    found: dict[str, File] = {}
    for path in paths:
        if not path.exists():
            raise Failure(f"{path} does not exist.")
        for file in walk(path) if path.is_dir() else [path]:
            name = document_id(file)
            found[name] = File(file, name)
    return list(found.values())


def walk(folder: Path) -> Iterator[Path]:
    """The readable kinds of files below ``folder``, in a stable order."""
    for path in sorted(folder.rglob("*")):
        hidden = any(part.startswith(".") for part in path.relative_to(folder).parts)
        if path.is_file() and path.suffix.lower() in SUFFIXES and not hidden:
            yield path


def document_id(path: Path) -> str:
    """The path below the current folder, or the whole path, with slashes and without a leading one."""
    whole = path.resolve()
    here = Path.cwd()
    return (whole.relative_to(here) if whole.is_relative_to(here) else whole).as_posix().lstrip("/")


def ingest(client: Client, collection: str, files: Sequence[File]) -> Report:
    """Send what changed, wait until it is searchable, and say what became of it."""
    report = Report()
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    with Progress(*columns) as progress:
        bar = progress.add_task("comparing", total=len(files))
        known = known_hashes(client, collection)
        changed = [file for file in files if known.get(file.id) != sha256(file.path)]
        report.unchanged = len(files) - len(changed)
        progress.update(bar, description="ingesting", completed=report.unchanged)
        jobs: deque[str] = deque()
        for batch in batches(changed):
            jobs.append(send(client, collection, batch))
            report.sent += len(batch)
            if len(jobs) >= JOBS_IN_FLIGHT:
                report.errors += follow(client, jobs.popleft(), progress, bar)
        while jobs:
            report.errors += follow(client, jobs.popleft(), progress, bar)
    return report


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


def sha256(path: Path) -> str:
    """The file's hash, in hex."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def batches(files: Sequence[File]) -> Iterator[list[File]]:
    """Groups small enough for one request each."""
    batch: list[File] = []
    size = 0
    for file in files:
        length = file.path.stat().st_size
        if batch and (len(batch) == BATCH_FILES or size + length > BATCH_BYTES):
            yield batch
            batch, size = [], 0
        batch.append(file)
        size += length
    if batch:
        yield batch


def send(client: Client, collection: str, batch: Sequence[File]) -> str:
    """Post one batch; returns the job's id."""
    with ExitStack() as stack:
        files = [("files", (file.id, stack.enter_context(file.path.open("rb")))) for file in batch]
        answer = client.send("POST", "/documents", files=files, data={"collection": collection})
    return str(answer["job_id"])


def follow(client: Client, job_id: str, progress: Progress, bar: Any) -> list[tuple[str, str]]:
    """Wait for a job's end and move the bar; returns its errors."""
    seen = 0
    while True:
        job = client.get(f"/jobs/{job_id}")
        progress.advance(bar, job["done"] - seen)
        seen = job["done"]
        if job["state"] in ENDED:
            return [(error["document_id"], error["reason"]) for error in job["errors"]]
        time.sleep(POLL_S)
