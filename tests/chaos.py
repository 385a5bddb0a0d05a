"""Kills the suite (-9) at random moments while it ingests, updates, deletes and answers; then checks what is left.

After each restart every acknowledged write must be found whole and every acknowledged delete must be gone.
"""

from __future__ import annotations

import random
import tempfile
import threading
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any

import httpx
import typer

from tests.suite import Suite, wait_for_job

DOCUMENTS = 40
SENTENCES = 60
MAX_LIFE_S = 4.0


@dataclass
class Ledger:
    """What was acknowledged. ``versions``: document → last acknowledged version, None once deleted.

    ``doubtful`` holds the documents whose last request got no answer: both states are right for them.
    """

    versions: dict[str, int | None] = field(default_factory=dict)
    doubtful: dict[str, int | None] = field(default_factory=dict)
    jobs: list[str] = field(default_factory=list)
    answers: int = 0


def word(document: str, version: int) -> str:
    """A word that only this version of this document holds."""
    return f"{document}version{version}"


def text(document: str, version: int) -> str:
    """Several passages, the first and the last of which hold the version's own word."""
    middle = " ".join(
        f"Sentence {n} of {document} speaks of harbour number {n * version}." for n in range(SENTENCES)
    )
    mark = word(document, version)
    return f"The first line says {mark}. {middle} The last line says {mark}."


def write(client: httpx.Client, ledger: Ledger, stop: threading.Event, seed: int) -> None:
    """Put, replace and delete documents until the suite dies or ``stop`` is set."""
    dice = random.Random(seed)
    while not stop.is_set():
        document = f"doc{dice.randrange(DOCUMENTS)}"
        current = ledger.versions.get(document)
        try:
            if current is not None and dice.random() < 0.25:
                ledger.doubtful[document] = None
                client.delete(f"/documents/{document}").raise_for_status()
                ledger.versions[document] = None
            else:
                version = dice.randrange(1, 10**9)
                ledger.doubtful[document] = version
                body = {"documents": [{"id": document, "text": text(document, version)}]}
                answer = client.post("/documents", json=body)
                answer.raise_for_status()
                ledger.versions[document] = version
                ledger.jobs.append(answer.json()["job_id"])
            del ledger.doubtful[document]
        except httpx.HTTPStatusError as error:
            if error.response.status_code not in {404, 429, 503}:
                raise
            ledger.doubtful.pop(document, None)
        except httpx.TransportError:
            return


def read(client: httpx.Client, ledger: Ledger, stop: threading.Event) -> None:
    """Ask until the suite dies or ``stop`` is set."""
    while not stop.is_set():
        try:
            answer = client.post("/generate", json={"query": "Which harbour does sentence 7 speak of?"})
            answer.raise_for_status()
            ledger.answers += 1
        except httpx.TransportError:
            return


def check(client: httpx.Client, ledger: Ledger) -> None:
    """Wait for the acknowledged jobs, then compare every document with the ledger."""
    for job in ledger.jobs:
        ended = wait_for_job(client, job)
        assert ended["state"] in {"done", "cancelled"}, ended
    ledger.jobs.clear()
    for document, version in ledger.versions.items():
        allowed = {version, ledger.doubtful.get(document, version)}
        found = stored(client, document)
        assert found in allowed, f"{document}: found {found}, acknowledged {allowed}"
        ledger.versions[document] = found
    ledger.doubtful.clear()


def stored(client: httpx.Client, document: str) -> int | None:
    """The version that is stored, whole and searchable; None if the document is gone from everywhere."""
    answer = client.get(f"/documents/{document}", params={"passages": "true"})
    found = passages(client, f"{document} harbour", document)
    if answer.status_code == 404:
        assert not found, f"{document} is deleted but found: {found[0]}"
        return None
    body = answer.json()
    version = int(body["text"].partition(f"{document}version")[2].partition(".")[0])
    assert body["text"] == text(document, version), f"{document} is not whole"
    assert found, f"{document} is stored but not found"
    for mode in ("sparse", "hybrid"):
        hits = passages(client, word(document, version), document, mode)
        marked = [hit for hit in hits if word(document, version) in hit["text"]]
        assert {hit["start"] for hit in marked} >= {0}, f"{document}: its first passage is not found ({mode})"
        assert any(hit["end"] == len(body["text"]) for hit in marked), f"{document}: its last passage is not found"
    foreign = [hit for hit in found if body["text"][hit["start"] : hit["end"]] != hit["text"]]
    assert not foreign, f"{document} mixes versions: {foreign[0]}"
    return version


def passages(client: httpx.Client, query: str, document: str, mode: str = "hybrid") -> list[dict[str, Any]]:
    """What a search within one document finds."""
    body = {"query": query, "mode": mode, "top_k": 100, "filter": {"document_id": document}}
    answer = client.post("/retrieve", json=body)
    answer.raise_for_status()
    hits: list[dict[str, Any]] = answer.json()["passages"]
    return hits


def live(suite: Suite, ledger: Ledger, seed: int, life_s: float) -> None:
    """Write and read for ``life_s`` seconds, then kill."""
    stop = threading.Event()
    errors: list[BaseException] = []

    def guarded(work: Any, *arguments: Any) -> None:
        with suite.client() as client:
            try:
                work(client, ledger, stop, *arguments)
            except (httpx.HTTPError, AssertionError, KeyError) as error:
                errors.append(error)

    threads = [
        threading.Thread(target=guarded, args=(write, seed)),
        threading.Thread(target=guarded, args=(read,)),
    ]
    for thread in threads:
        thread.start()
    stop.wait(life_s)
    suite.kill()
    stop.set()
    for thread in threads:
        thread.join()
    if errors:
        raise errors[0]


def run(folder: Path, kills: int, seed: int = 0, environment: dict[str, str] | None = None) -> Ledger:
    """``kills`` lives of the suite in ``folder``; raises AssertionError at the first thing lost."""
    dice = random.Random(seed)
    ledger = Ledger()
    suite = Suite(folder, environment)
    for life in range(kills):
        suite.start()
        with suite.client() as client:
            check(client, ledger)
        live(suite, ledger, seed + life, dice.uniform(0.05, MAX_LIFE_S))
    suite.start()
    with suite.client() as client:
        check(client, ledger)
    suite.stop()
    return ledger


def main(kills: Annotated[int, typer.Option()] = 20, seed: Annotated[int, typer.Option()] = 0) -> None:
    """Kill a suite with the shipped defaults, answers taken from the passages to be quick."""
    with tempfile.TemporaryDirectory() as folder:
        ledger = run(Path(folder), kills, seed, {"GENERATOR_LLM": "extractive"})
    kept = sum(version is not None for version in ledger.versions.values())
    typer.echo(
        f"{kills} kills, {ledger.answers} answers: {kept} documents kept, "
        f"{len(ledger.versions) - kept} deletes kept, none lost, none half, none back"
    )


if __name__ == "__main__":
    typer.run(main)
