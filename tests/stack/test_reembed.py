"""A collection gets another embedder in a running suite: under load, killed in the middle, spread over workers."""

import contextlib
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.ragline.cli.conftest import Said, Shell
from tests.stack.spread import Spread
from tests.suite import Suite, put, wait_for_job

LIGHT = {"RERANKER_SCORER": "overlap", "GENERATOR_LLM": "extractive", "PREPROCESS_EMBEDDER": "hashing"}
OLD, NEW = "hashing-1-256", "hashing-1-64"
BOTH = {
    **LIGHT,
    "PREPROCESS_NEXT_EMBEDDER": "hashing",
    "PREPROCESS_NEXT_EMBEDDER_OPTIONS": '{"dimensions": 64}',
}
TURNED = {**LIGHT, "PREPROCESS_EMBEDDER_OPTIONS": '{"dimensions": 64}'}
WORDS = ["harbour", "lantern", "orchard", "quarry", "meadow", "furnace", "glacier", "viaduct"]


def document(n: int) -> dict[str, Any]:
    word = WORDS[n % len(WORDS)]
    return {
        "id": f"d{n}",
        "text": f"The {word} number{n} lies behind the {WORDS[(n + 3) % len(WORDS)]} of place{n}.",
    }


def started(folder: Path, environment: Mapping[str, str]) -> Suite:
    return Suite(folder, environment)


def state(client: httpx.Client) -> dict[str, Any]:
    answer = client.get("/collections/default")
    assert answer.status_code == 200, answer.text
    return dict(answer.json())


def found(client: httpx.Client, n: int, mode: str) -> list[str]:
    """The documents found by the text of one; raises TransportError while nobody is there."""
    text = document(n)["text"]
    answer = client.post("/retrieve", json={"query": text, "mode": mode, "top_k": 3})
    assert answer.status_code == 200, answer.text
    assert answer.json()["degraded"] == []
    return [passage["document_id"] for passage in answer.json()["passages"]]


class Searching:
    """Searches without a pause in every mode; what is asked for is found first, whatever the embedder is now."""

    def __init__(self, clients: Callable[[], httpx.Client]) -> None:
        self.clients = clients
        self.over = threading.Event()
        self.away = threading.Event()  # set while the suite is expected to be away
        self.faults: list[str] = []
        self.count = 0
        self.thread = threading.Thread(target=self.run)

    def run(self) -> None:
        with self.clients() as client:
            while not self.over.is_set():
                n = self.count % 40
                expected_away = self.away.is_set()
                try:
                    names = found(client, n, ["hybrid", "dense", "sparse"][self.count % 3])
                    if names[0] != f"d{n}":
                        self.faults.append(f"d{n}: {names}")
                except httpx.TransportError as error:
                    if not (expected_away or self.away.is_set()):
                        self.faults.append(repr(error))
                    time.sleep(0.05)
                except AssertionError as error:
                    if not (expected_away or self.away.is_set()):
                        self.faults.append(str(error))
                self.count += 1

    def __enter__(self) -> "Searching":
        self.thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.over.set()
        self.thread.join()


@pytest.mark.timeout(300)
def test_a_change_goes_on_after_a_kill_and_nobody_who_searches_notices_it(tmp_path: Path) -> None:
    suite = started(tmp_path, BOTH)
    with suite, suite.client() as client:
        assert put(client, [document(n) for n in range(120)])["failed"] == 0
        assert state(client)["embedder"] == OLD
        with Searching(suite.client) as searching:
            job_id = client.post("/collections/default/reembed").json()["job_id"]
            refused = client.post("/collections/default/reembed")
            assert refused.status_code in {200, 409}, "one at a time, or it is done already"
            while state(client)["staged"] == 0 and state(client)["embedder"] == OLD:
                time.sleep(0.01)
            searching.away.set()
            suite.kill()
            suite.start()
            searching.away.clear()
            put(client, [document(n) for n in range(100, 140)])
            assert wait_for_job(client, job_id)["state"] == "done"
        assert searching.faults == []
        assert searching.count > 0
        after = state(client)
        assert (after["embedder"], after["documents"], after["change"]) == (NEW, 140, "none")
        for n in range(0, 140, 7):
            for mode in ("dense", "hybrid", "sparse"):
                assert found(client, n, mode)[0] == f"d{n}"
    with (
        Suite(tmp_path, TURNED) as turned,
        turned.client() as client,
    ):  # the new one is the first, the old one gone
        assert found(client, 3, "dense")[0] == "d3"
        assert put(client, [document(200)])["failed"] == 0
        assert found(client, 200, "hybrid")[0] == "d200"


@pytest.mark.timeout(300)
def test_an_accidental_change_is_refused_with_the_ways_out(tmp_path: Path) -> None:
    with Suite(tmp_path, LIGHT) as suite, suite.client() as client:
        assert put(client, [document(n) for n in range(5)])["failed"] == 0
        said = ragline(suite, tmp_path, "reembed", "--all")
        assert said.status == 1
        assert "PREPROCESS_NEXT_EMBEDDER" in said.err
    with Suite(tmp_path, TURNED) as suite, suite.client() as client:
        query = {"query": document(3)["text"], "top_k": 3}
        asked = [client.post("/retrieve", json={**query, "mode": mode}) for mode in ("dense", "hybrid")]
        for refused in [*asked, client.post("/generate", json={"query": query["query"]})]:
            assert refused.status_code == 412, refused.text
            for way in (OLD, NEW, "PREPROCESS_NEXT_EMBEDDER", "ragline reembed", "mode sparse"):
                assert way in refused.json()["detail"]
        assert found(client, 3, "sparse")[0] == "d3"
        job = put(client, [document(7)])
        assert job["state"] == "failed"
        assert "ragline reembed" in job["errors"][0]["reason"]
        told = ragline(suite, tmp_path, "reembed", "--status")
        assert (told.status, "to be embedded again" in told.out) == (0, True)
    with Suite(tmp_path, BOTH) as suite, suite.client() as client:
        assert found(client, 3, "hybrid")[0] == "d3"
        said = ragline(suite, tmp_path, "reembed", "--all")
        assert said.status == 0, said.err
        assert NEW in said.out
        assert ragline(suite, tmp_path, "reembed").status == 0, "there is nothing to do any more"
        assert "as it should be" in ragline(suite, tmp_path, "reembed", "--status").out
        assert found(client, 3, "dense")[0] == "d3"


@pytest.mark.models
@pytest.mark.timeout(300)
def test_a_collection_moves_to_a_model(tmp_path: Path, minilm: Path) -> None:
    """From words to meaning: what no word says is found once the model has embedded it."""
    environment = {
        **LIGHT,
        "PREPROCESS_NEXT_EMBEDDER": "onnx",
        "RAGLINE_MODELS_DIR": str(minilm.parent),
    }
    texts = {
        "pay": "Salaries are transferred on the last working day of each month.",
        "roof": "The tiles above the attic were replaced after the storm.",
        "dog": "Puppies have to be vaccinated before their first winter.",
    }
    with Suite(tmp_path, environment) as suite, suite.client() as client:
        put(client, [{"id": name, "text": text} for name, text in texts.items()])
        job_id = client.post("/collections/default/reembed").json()["job_id"]
        assert wait_for_job(client, job_id)["state"] == "done"
        answer = client.post("/retrieve", json={"query": "When do employees get their money?", "mode": "dense"})
        assert answer.json()["passages"][0]["document_id"] == "pay"
        assert client.post("/embed", json={"input": "x"}).json()["dimensions"] == 256, "/embed stays on the first"


@pytest.fixture
def spread(tmp_path: Path, redis_installed: None, rabbitmq_installed: None) -> Iterator[Spread]:
    replicas = {"preprocess": 1, "preprocess-worker": 2, "generator": 0, "generator-worker": 0}
    with Spread(tmp_path, replicas, {**BOTH, "PREPROCESS_HOLD_S": "2"}) as running:
        yield running


@pytest.mark.stack
@pytest.mark.timeout(300)
def test_several_workers_change_it_and_one_may_die(spread: Spread) -> None:
    with spread.client("preprocess") as door, spread.client("retriever") as reading:
        assert put(door, [document(n) for n in range(60)])["failed"] == 0
        with Searching(lambda: spread.client("retriever")) as searching:
            job_id = door.post("/collections/default/reembed").json()["job_id"]
            while state(door)["staged"] == 0 and state(door)["embedder"] == OLD:
                time.sleep(0.01)
            spread.processes["preprocess-worker-1"].kill()
            put(door, [document(n) for n in range(50, 70)])
            assert wait_for_job(door, job_id)["state"] == "done"
        assert searching.faults == []
        assert state(door)["embedder"] == NEW
        for n in range(70):
            assert found(reading, n, "dense")[0] == f"d{n}"


def ragline(suite: Suite, folder: Path, *arguments: str) -> Said:
    """Run the command line."""
    with contextlib.chdir(folder):
        return Shell(folder, suite.url).run(*arguments)
