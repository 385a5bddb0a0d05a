"""Load on a spread suite: questions and documents without a pause, and a memory of what was acknowledged."""

from __future__ import annotations

import itertools
import random
import threading
import time
from collections import Counter, defaultdict
from typing import Any

import httpx

from tests.stack.spread import Spread

LIMIT_S = 120.0
IDS = 60  # few, so that documents are replaced while they are still in the queue
AT_ONCE = 5
KNOWN = {
    "id": "known",
    "text": "The ferry to Skarvøy leaves at seven in the morning. Its captain is Marit. It carries 40 cars.",
}
QUESTION = "When does the ferry to Skarvøy leave?"
EXPECTED = "seven in the morning"


class Load:
    """A context manager: threads that ask and write until it is left, which fails if a question failed.

    ``acknowledged`` holds the last text of each id that a 202 was given for, ``doubtful`` what was sent after
    that without an answer that says whether it was taken.
    """

    def __init__(self, spread: Spread, *, askers: int = 2, seed: int = 1) -> None:
        self.spread = spread
        self.askers = askers
        self.random = random.Random(seed)
        self.acknowledged: dict[str, str] = {}
        self.doubtful: dict[str, set[str]] = defaultdict(set)
        self.jobs: list[str] = []
        self.refused: Counter[int] = Counter()
        self.answers = 0
        self.degraded: Counter[str] = Counter()
        self.failures: list[str] = []
        self.ended = threading.Event()
        self.threads: list[threading.Thread] = []

    def __enter__(self) -> Load:
        works = [lambda n=n: self.ask(n) for n in range(self.askers)]
        self.threads = [threading.Thread(target=work, daemon=True) for work in (*works, self.write)]
        for thread in self.threads:
            thread.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        self.ended.set()
        for thread in self.threads:
            thread.join(LIMIT_S)
        if kind is None:
            assert not self.failures, f"{self.failures[:3]} of {self.answers}\n{self.spread.tail()}"

    def ask(self, n: int) -> None:
        """Ask the generators in turn; every second question is one that nobody asked before."""
        count = len(self.spread.of("generator"))
        clients = [self.spread.client("generator", k) for k in range(count)]
        for i in itertools.count(n):
            if self.ended.is_set():
                break
            query = QUESTION if i % 2 else f"{QUESTION} I ask for person {n} the {i}th time."
            self.one_answer(clients[i % count], query)
        for client in clients:
            client.close()

    def one_answer(self, client: httpx.Client, query: str) -> None:
        """Ask once and look at the answer."""
        try:
            answer = client.post("/generate", json={"query": query})
            body: dict[str, Any] = answer.json()
            if answer.status_code != 200 or EXPECTED not in body["answer"]:
                self.failures.append(f"{answer.status_code}: {answer.text[:500]}")
            else:
                self.degraded.update(body["degraded"])
        except httpx.TransportError as error:
            self.failures.append(repr(error))
        self.answers += 1

    def write(self) -> None:
        """Send documents, some of them again with another text."""
        with self.spread.client("preprocess") as client:
            for version in itertools.count():
                if self.ended.is_set():
                    return
                ids = self.random.sample(range(IDS), AT_ONCE)
                texts = {f"load-{n}": f"Buoy {n} was painted for the {version}th time by the crew." for n in ids}
                self.send(client, texts)
                self.ended.wait(0.02)

    def send(self, client: httpx.Client, texts: dict[str, str]) -> None:
        """Send some documents in one request and note what became of it."""
        documents = [{"id": name, "text": text} for name, text in texts.items()]
        try:
            answer = client.post("/documents", json={"documents": documents})
        except httpx.TransportError:
            status = 0
        else:
            status = answer.status_code
        if status == 202:
            self.jobs.append(answer.json()["job_id"])
            for name, text in texts.items():
                self.acknowledged[name] = text
                self.doubtful[name].clear()
            return
        self.refused[status] += 1
        for name, text in texts.items():
            self.doubtful[name].add(text)

    def wait_for(self, *, answers: int = 0, jobs: int = 0) -> None:
        """Wait until so many more questions were answered and jobs taken."""
        answers, jobs = self.answers + answers, len(self.jobs) + jobs
        deadline = time.monotonic() + LIMIT_S
        while self.answers < answers or len(self.jobs) < jobs:
            assert time.monotonic() < deadline, f"no more load is taken: {self.refused}\n{self.spread.tail()}"
            time.sleep(0.05)

    def check(self) -> None:
        """Everything acknowledged is in, once, in its last text."""
        deadline = time.monotonic() + LIMIT_S
        wrong = self.wrong()
        while wrong and time.monotonic() < deadline:
            time.sleep(0.2)
            wrong = self.wrong()
        assert not wrong, f"{wrong}\n{self.spread.tail()}"

    def wrong(self) -> dict[str, str | None]:
        """Documents that are not there, or not in the text that was acknowledged last."""
        there = [document["id"] for document in self.spread.documents()]
        assert len(there) == len(set(there))
        wrong: dict[str, str | None] = {}
        with self.spread.client("preprocess") as client:
            for name, text in self.acknowledged.items():
                found = client.get(f"/documents/{name}")
                held = found.json()["text"] if found.status_code == 200 else None
                if held != text and held not in self.doubtful[name]:
                    wrong[name] = held
        return wrong
