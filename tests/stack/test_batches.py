"""Batches in the real suite: the routes' own answers, bad files, cancels, a full disk."""

import contextlib
import os
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from tests.stack.batch_client import DOCUMENTS, KIND, WITHOUT_MODELS, encoded, ended, lasting, line, post, results
from tests.stack.problems import inspect, problem
from tests.suite import Suite, put

pytestmark = pytest.mark.stack


@pytest.fixture(scope="module")
def disk(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Path, bool]]:
    """A folder, and whether it is a small disk of its own (root may make that)."""
    folder = tmp_path_factory.mktemp("disk")
    command = ["mount", "-t", "tmpfs", "-o", "size=4m", "tmpfs", str(folder)]
    mounted = subprocess.run(command, check=False, capture_output=True).returncode == 0
    yield folder, mounted
    if mounted:
        subprocess.run(["umount", "-l", folder], check=False)  # noqa: S607


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory, disk: tuple[Path, bool]) -> Iterator[Suite]:
    """A suite without models that keeps batches on the small disk."""
    environment = {**WITHOUT_MODELS, "GENERATOR_BATCH_URL": f"file://{disk[0]}/batches"}
    with Suite(tmp_path_factory.mktemp("batches"), environment) as running:
        with running.client() as client:
            assert put(client, DOCUMENTS)["state"] == "done"
        yield running


@pytest.fixture
def client(small: Suite) -> Iterator[httpx.Client]:
    with small.client() as client:
        client.event_hooks = {"response": [inspect]}
        yield client


def test_results_are_what_the_routes_answer(client: httpx.Client) -> None:
    given = [line(n, route) for n in range(12) for route in ("generate", "retrieve", "embed")]
    given += [
        {"custom_id": "two", "url": "/embed", "body": {"input": ["a b", "c"], "explain": True}},
        {"custom_id": "many", "url": "/retrieve", "body": {"queries": ["harbour", "mayor"]}},
        {"custom_id": "reranked", "url": "/retrieve", "body": {"query": "mayor", "rerank": True, "explain": True}},
        {"custom_id": "no collection", "url": "/generate", "body": {"query": "x", "collection": "nowhere"}},
        {"custom_id": "no query", "url": "/retrieve", "body": {"query": ""}},
        {"custom_id": "no such field", "url": "/embed", "body": {"input": "x", "colour": "red"}},
        {"custom_id": "too many", "url": "/generate", "body": {"query": "x", "top_k": 1000}},
        {"custom_id": "no such mode", "url": "/retrieve", "body": {"query": "x", "mode": "guess"}},
        {"custom_id": "two", "url": "/embed", "body": {"input": "the same id again"}},
    ]
    batch_id = post(client, given)
    view = ended(client, batch_id)
    assert (view["state"], view["total"], view["done"], view["failed"]) == ("done", len(given), len(given), 6)
    found = results(client, batch_id)
    assert [result["custom_id"] for result in found] == [each["custom_id"] for each in given]
    for each, result in zip(given[:-1], found, strict=False):
        own = client.post(each["url"], json=each["body"])
        assert result["status"] == own.status_code, result
        assert lasting(result["body" if own.is_success else "error"]) == lasting(own.json())
        assert result["status"] == 200 or result["error"]["instance"] == f"{batch_id}.{result['line']}"
    assert client.get(f"/batches/{batch_id}/results/no collection").json() == found[-6]
    assert results(client, batch_id, after_line=40) == found[40:]
    problem(client.get(f"/batches/{batch_id}/results/nobody"), 404, "custom_id")
    events = client.get(f"/batches/{batch_id}/events").text
    assert events.rpartition("event: ")[2].startswith("done")
    assert 'ragline_batch_lines_ended_total{state="done"}' in client.get("/metrics").text
    assert client.get("/v1/batches", params={"limit": 1}).json() == {"batches": [view], "next": batch_id}


@pytest.mark.parametrize(
    ("body", "kind", "status", "told"),
    [
        (b"", KIND, 400, "empty"),
        (b"\xff\xfe{}\n", KIND, 400, "Line 1"),
        (b"a,b\n1,2\n", KIND, 400, "No line"),
        (b"{}", {"content-type": "application/json"}, 415, "application/jsonl"),
        (b"{}", {**KIND, "content-encoding": "gzip"}, 415, "gzip"),
        (b"x" * (1 << 21), KIND, 413, "GENERATOR_MAX_BATCH_LINE_KB"),
    ],
)
def test_files_that_are_no_use_are_refused(
    client: httpx.Client, body: bytes, kind: dict[str, str], status: int, told: str
) -> None:
    problem(client.post("/batches", content=body, headers=kind), status, told)


@pytest.mark.parametrize("path", ["", "/results", "/results/x", "/events"])
def test_a_batch_that_is_not_there(client: httpx.Client, path: str) -> None:
    problem(client.get(f"/batches/batch-{'0' * 36}{path}"), 404, "batch")
    problem(client.get(f"/batches/..%2F..{path}"), 404)


def test_order_and_place_do_not_go_together(client: httpx.Client) -> None:
    batch_id = post(client, [line(0, "embed")])
    query = httpx.QueryParams(order="finished", after_line=3)
    problem(client.get(f"/batches/{batch_id}/results", params=query), 400, "after_line")


def test_cancel_keeps_what_is_done(client: httpx.Client) -> None:
    batch_id = post(client, [line(n, "generate") for n in range(1000)])
    while not client.get(f"/batches/{batch_id}").json()["done"]:
        time.sleep(0.01)
    view = client.delete(f"/batches/{batch_id}").json()
    assert view["state"] == "cancelled"
    found = results(client, batch_id, order="finished")
    assert 0 < len(found) < 1000
    assert client.delete(f"/batches/{batch_id}").json()["finished_at"] == view["finished_at"]
    other = post(client, [line(0, "generate")])
    assert ended(client, other)["state"] == "done"  # the queue has passed over the rest
    left = results(client, batch_id, order="finished")
    assert len(left) <= len(found) + 8  # what was in flight
    assert all(before in left for before in found)


def fill(file: Path) -> None:
    """Write until nothing more goes in."""
    handle = os.open(file, os.O_WRONLY | os.O_CREAT)
    with contextlib.suppress(OSError):
        while True:
            os.write(handle, b"x" * 4096)
    os.close(handle)


def test_the_disk_is_full_while_a_batch_comes_in(client: httpx.Client, disk: tuple[Path, bool]) -> None:
    if not disk[1]:
        pytest.skip("a small disk cannot be mounted here; run as root")
    big = [{"url": "/embed", "body": {"input": "x" * 1000}} for _ in range(5000)]
    refused = client.post("/batches", content=encoded(big), headers=KIND)
    assert "full" in problem(refused, 503)["detail"]
    assert int(refused.headers["retry-after"]) > 1
    batch_id = post(client, [line(n, "retrieve") for n in range(50)])
    assert ended(client, batch_id)["failed"] == 0


def test_the_disk_is_full_while_a_batch_is_worked_on(client: httpx.Client, disk: tuple[Path, bool]) -> None:
    if not disk[1]:
        pytest.skip("a small disk cannot be mounted here; run as root")
    filler = disk[0] / "filler"
    batch_id = post(client, [line(n, "embed") for n in range(500)])
    fill(filler)
    done = client.get(f"/batches/{batch_id}").json()["done"]
    assert done < 500
    problem(client.post("/batches", content=encoded([line(0, "embed")]), headers=KIND), 503, "full")
    filler.unlink()
    view = ended(client, batch_id)
    assert (view["state"], view["failed"]) == ("done", 0)
    assert [result["line"] for result in results(client, batch_id)] == list(range(1, 501))
