"""Puts this repository's documents into a running stack and asks a cited answer, all through NGINX; prints times.

`python3 -m tests.deploy.ask_through_nginx` from the root of the repository; exits 1 with a sentence where
something is not as it must be.
"""

from __future__ import annotations

import json
import statistics
import sys
import time
import uuid
from pathlib import Path

from tests.deploy import door

QUESTION = "When were the mills of Brell closed?"
CLOSED = "1921"
BRELL = Path("tests/deploy/brell.md")
DOCS = Path("docs")
REPEATS = 20
BATCH = 100


def main() -> int:
    """Run it; the exit status."""
    try:
        run(f"deploy-{uuid.uuid4().hex[:8]}")
    except (door.Wrong, OSError) as error:
        say(f"WRONG: {error}")
        return 1
    return 0


def run(collection: str) -> None:
    """Ingest, ask, stream, ask again, delete."""
    files = {path.as_posix(): path for path in [BRELL, *sorted(DOCS.rglob("*.md"))]}
    begun = time.monotonic()
    job = door.ended(door.upload(files, collection))
    if job["done"] != len(files):
        raise door.Wrong(f"{len(files)} files were sent, {job['done']} are done")
    say(f"{len(files)} documents searchable after {time.monotonic() - begun:.2f} s")

    question = {"query": QUESTION, "collection": collection}
    begun = time.monotonic()
    answer = door.post("/generate", question)
    say(f"first answer after {ms(time.monotonic() - begun)}: {answer['answer']}")
    check_citations(answer, files)
    if answer.get("degraded"):
        raise door.Wrong(f"the answer is degraded: {answer['degraded']}")
    check_stream({"query": QUESTION + " And then?", "collection": collection})

    check_batch(collection)
    times = [timed(question) for _ in range(REPEATS)]
    say(f"the same question again, {REPEATS} times: the middle one takes {ms(statistics.median(times))}")
    fresh = [timed({**question, "query": f"{QUESTION} ({number})"}) for number in range(REPEATS)]
    say(f"another question, {REPEATS} times: the middle one takes {ms(statistics.median(fresh))}")

    for name in files:
        path = f"/documents/{name}?collection={collection}"
        door.checked("DELETE", path, door.send("DELETE", path))
    if door.post("/retrieve", question)["passages"]:
        raise door.Wrong("deleted documents are found")
    say("deleted documents are found no more")


def check_citations(answer: dict[str, object], files: dict[str, Path]) -> None:
    """Each quote stands in its document where the citation says; the answer says what its page says."""
    citations = answer["citations"]
    if not isinstance(citations, list) or not citations:
        raise door.Wrong(f"there is no citation: {answer}")
    for citation in citations:
        text = files[citation["document_id"]].read_text()
        if text[citation["start"] : citation["end"]] != citation["quote"]:
            raise door.Wrong(f"{citation['document_id']} does not hold this quote there: {citation}")
    if CLOSED not in str(answer["answer"]):
        raise door.Wrong(f"the answer does not say {CLOSED}: {answer['answer']}")
    say(f"{len(citations)} citations, each letter by letter in its document")


def check_stream(question: dict[str, str]) -> None:
    """The stream comes in pieces, in order, and ends with done."""
    seen = list(door.events("/generate", question))
    kinds = [kind for kind, _ in seen]
    if kinds[:1] != ["passages"] or kinds[-1:] != ["done"] or "token" not in kinds:
        raise door.Wrong(f"the stream was {kinds}")
    say(f"stream: first token after {ms(seen[kinds.index('token')][1])}, done after {ms(seen[-1][1])}")


def check_batch(collection: str) -> None:
    """Many questions in one file, answered by the worker."""
    body = {"query": QUESTION, "collection": collection}
    asked = [
        json.dumps({"custom_id": str(number), "method": "POST", "url": "/generate", "body": body})
        for number in range(BATCH)
    ]
    begun = time.monotonic()
    answer = door.send("POST", "/batches", "\n".join(asked).encode(), "application/x-ndjson")
    batch = door.ended(f"/batches/{door.checked('POST', '/batches', answer)['id']}")
    took = time.monotonic() - begun
    results = door.lines(f"/batches/{batch['id']}/results")
    if [result["custom_id"] for result in results] != [str(number) for number in range(BATCH)]:
        raise door.Wrong(f"{len(results)} results, or not in the order of the questions")
    if any(CLOSED not in result["body"]["answer"] for result in results):
        raise door.Wrong(f"a result without the answer: {results}")
    say(f"a batch of {BATCH} questions answered after {took:.2f} s")


def timed(question: dict[str, str]) -> float:
    """Seconds that one answer takes."""
    begun = time.monotonic()
    door.post("/generate", question)
    return time.monotonic() - begun


def ms(seconds: float) -> str:
    """Milliseconds, to read."""
    return f"{seconds * 1000:.1f} ms"


def say(text: str) -> None:
    """A line for whoever watches."""
    sys.stdout.write(f"  {text}\n")
    sys.stdout.flush()


if __name__ == "__main__":
    sys.exit(main())
