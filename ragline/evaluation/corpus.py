"""Puts a set's corpus into a private suite, once: what is there from an earlier run stays."""

from __future__ import annotations

import hashlib
import re
import time
from collections import deque
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass

import orjson

from ragline.cli.client import Client, Failure
from ragline.evaluation import EvaluationError
from ragline.evaluation.beir import Dataset
from ragline.evaluation.settings import shaping

DOCUMENTS_A_REQUEST = 250
CHARS_A_REQUEST = 8_000_000
MAX_TITLE_CHARS = 1000  # what preprocess takes
CONTROL = re.compile(r"[\x00-\x1f]+")
JOBS_IN_FLIGHT = 4
MAX_WAITS = 1000
POLL_S = 0.1
ENDED = frozenset({"done", "failed", "cancelled"})


@dataclass(frozen=True)
class Corpus:
    """The documents of a set as they are stored: numbered, as ids of a set may be anything.

    ``collection`` is named by the content and by the settings that shape passages.
    """

    collection: str
    ids: tuple[str, ...]
    documents: int  # those with a text


def numbered(data: Dataset) -> Corpus:
    """The corpus of a set; its documents without a text are numbered and left out."""
    digest = hashlib.sha256(orjson.dumps(shaping()))
    for key in sorted(data.corpus):
        digest.update(orjson.dumps([key, data.corpus[key]["title"], data.corpus[key]["text"]]))
    count = sum(1 for row in data.corpus.values() if text_of(row))
    return Corpus(f"set-{digest.hexdigest()[:32]}", tuple(sorted(data.corpus)), count)


def text_of(row: Mapping[str, str]) -> str:
    """What is stored of a document: its text, or its title where it has none."""
    return row["text"] if row["text"].strip() else row["title"].strip()


def title_of(row: Mapping[str, str]) -> str:
    """The title as the door takes it: one line, not longer than it may be."""
    return CONTROL.sub(" ", row["title"])[:MAX_TITLE_CHARS].strip()


def ingest(client: Client, data: Dataset, corpus: Corpus, show: Callable[[int, int], None]) -> None:
    """Send the documents and wait until all can be found; ``show`` is told how many are, of how many.

    Raises EvaluationError for a document that is refused, and Failure where the suite does not answer.
    """
    jobs: deque[str] = deque()
    done = 0
    for batch in batches(data, corpus):
        if len(jobs) == JOBS_IN_FLIGHT:
            done = follow(client, jobs.popleft(), done, lambda at: show(at, corpus.documents))
        jobs.append(post(client, {"collection": corpus.collection, "documents": batch}))
    while jobs:
        done = follow(client, jobs.popleft(), done, lambda at: show(at, corpus.documents))


def batches(data: Dataset, corpus: Corpus) -> Iterator[list[dict[str, str]]]:
    """The documents in requests that the door takes."""
    batch: list[dict[str, str]] = []
    room = CHARS_A_REQUEST
    for number, key in enumerate(corpus.ids):
        row = data.corpus[key]
        if not (text := text_of(row)):
            continue
        if batch and (len(batch) == DOCUMENTS_A_REQUEST or len(text) > room):
            yield batch
            batch, room = [], CHARS_A_REQUEST
        batch.append({"id": str(number), "title": title_of(row), "text": text})
        room -= len(text)
    if batch:
        yield batch


def post(client: Client, body: dict[str, object]) -> str:
    """The id of a job, asked for again while there is no room."""
    for _ in range(MAX_WAITS):
        try:
            return str(client.post("/documents", body)["job_id"])
        except Failure as failure:
            if failure.retry_after_s is None:
                raise
            time.sleep(failure.retry_after_s)
    return str(client.post("/documents", body)["job_id"])


def follow(client: Client, job_id: str, before: int, show: Callable[[int], None]) -> int:
    """Wait for a job; returns how many documents are done by then."""
    while True:
        job = client.get(f"/jobs/{job_id}")
        show(before + job["done"])
        if job["state"] in ENDED:
            break
        time.sleep(POLL_S)
    if job["errors"] or job["state"] != "done":
        first = job["errors"][0]["reason"] if job["errors"] else f"its job is {job['state']}"
        raise EvaluationError(f"{len(job['errors'])} documents were refused; of the first it is said: {first}")
    return before + int(job["done"])
