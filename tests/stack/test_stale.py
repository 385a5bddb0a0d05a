"""No answer is stale: two generators over one Redis, documents updated and deleted while they answer.

Each answer names the generation that it was made from; what the collection held at that generation is known, and
a request that starts after a write was acknowledged gets that generation or a later one.
"""

import bisect
import re
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from tests.stack.spread import Spread

pytestmark = [pytest.mark.models, pytest.mark.stack, pytest.mark.timeout(600)]

COLLECTION = "vault"
QUESTION = "What is the code of the vault in the cellar?"
CODE = re.compile(r"code of the vault in the cellar is (\d+)")
ROUNDS = 40
OTHER = {"id": "other", "text": "The garden of the house has three apple trees and a well."}


@dataclass(frozen=True)
class Seen:
    """One answer: the newest generation that was acknowledged before it was asked for, and what it said."""

    acknowledged: int
    generation: int
    code: str | None
    body: dict[str, Any]


class History:
    """What the collection holds from each generation on: a code, or None after a delete."""

    def __init__(self) -> None:
        self.starts: list[int] = []
        self.codes: list[str | None] = []

    def add(self, generation: int, code: str | None) -> None:
        """The write of ``code`` was acknowledged at ``generation``."""
        self.starts.append(generation)
        self.codes.append(code)

    def at(self, generation: int) -> str | None:
        """What it held at a generation."""
        place = bisect.bisect_right(self.starts, generation)
        return self.codes[place - 1] if place else None


@pytest.fixture(scope="module")
def spread(
    tmp_path_factory: pytest.TempPathFactory, minilm: Path, redis_installed: None, rabbitmq_installed: None
) -> Iterator[Spread]:
    replicas = {"generator": 2, "generator-worker": 0}
    with Spread(tmp_path_factory.mktemp("stale"), replicas) as running:
        running.put([OTHER], COLLECTION)
        yield running


def write(spread: Spread, history: History, code: str) -> None:
    """Store the document with this code; there is one writer, so the generation is that of this write."""
    job = spread.put([{"id": "vault", "text": f"The code of the vault in the cellar is {code}."}], COLLECTION)
    assert job["state"] == "done", job
    with spread.client("preprocess") as client:
        found = client.get("/documents/vault", params={"collection": COLLECTION}).json()
    history.add(found["generation"], code)


def delete(spread: Spread, history: History) -> None:
    """Take the document out."""
    with spread.client("preprocess") as client:
        answer = client.delete("/documents/vault", params={"collection": COLLECTION})
    assert answer.status_code == 200, answer.text
    history.add(answer.json()["generation"], None)


def ask(spread: Spread, n: int, history: History, seen: list[Seen], ended: threading.Event) -> None:
    """Ask one generator the same, again and again."""
    with spread.client("generator", n) as client:
        while not ended.is_set():
            acknowledged = history.starts[-1] if history.starts else 0
            answer = client.post("/generate", json={"query": QUESTION, "collection": COLLECTION})
            assert answer.status_code == 200, answer.text
            body = answer.json()
            code = CODE.search(body["answer"])
            seen.append(Seen(acknowledged, body["generation"], code and code[1], body))


def test_no_answer_is_older_than_the_generation_it_names(spread: Spread) -> None:
    history, ended = History(), threading.Event()
    seen: list[list[Seen]] = [[] for _ in range(4)]
    threads = [threading.Thread(target=ask, args=(spread, n % 2, history, seen[n], ended)) for n in range(4)]
    for thread in threads:
        thread.start()
    for n in range(ROUNDS):
        write(spread, history, str(1000 + n))
        if n % 4 == 3:
            delete(spread, history)
    ended.set()
    for thread in threads:
        thread.join(60)
    answers = [answer for each in seen for answer in each]
    for answer in answers:
        assert answer.code == history.at(answer.generation), answer
        assert answer.generation >= answer.acknowledged, answer
    # What was shown means something only if the cache was used, by both, and what was asked for was found.
    assert all(any(answer.body["cached"] for answer in each) for each in seen)
    assert len({answer.code for answer in answers}) > ROUNDS // 2
