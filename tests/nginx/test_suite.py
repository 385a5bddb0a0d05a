"""The suite itself behind the door: the journey of a document, the command line, the pages that describe it."""

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from tests.servers.nginx import HOST, SERVICES, Nginx
from tests.suite import Suite, put

pytestmark = [pytest.mark.models, pytest.mark.stack]

COLLECTION = "behind-the-door"
FACT = "The lighthouse of Marrow Point was built in 1874. Its lamp is seen from thirty miles."


@pytest.fixture(scope="module")
def front(tmp_path_factory: pytest.TempPathFactory, suite: Suite, nginx_installed: None) -> Iterator[Nginx]:
    """A door whose four services are the all-in-one."""
    upstreams = {name: [f"{HOST}:{suite.port}"] for name in SERVICES}
    with Nginx(tmp_path_factory.mktemp("front"), upstreams) as opened:
        yield opened


@pytest.fixture(scope="module")
def visitor(front: Nginx) -> Iterator[httpx.Client]:
    """A client of that door, with a document in the suite."""
    with front.client() as client:
        put(client, [{"id": "light/house", "text": FACT}], COLLECTION)
        yield client


def test_a_cited_answer(visitor: httpx.Client) -> None:
    answer = visitor.post(
        "/v1/generate", json={"query": "When was the lighthouse built?", "collection": COLLECTION}
    )
    assert answer.status_code == 200
    assert "1874" in answer.json()["answer"]
    assert answer.json()["citations"][0]["document_id"] == "light/house"


def test_a_streamed_answer_ends_with_done(visitor: httpx.Client) -> None:
    body = {"query": "How far is its lamp seen?", "collection": COLLECTION, "stream": True}
    with visitor.stream("POST", "/generate", json=body) as answer:
        lines = list(answer.iter_lines())
    events = [line.removeprefix("event: ") for line in lines if line.startswith("event: ")]
    assert events[0] == "passages"
    assert events[-1] == "done"


def test_a_file_is_taken_in_and_followed(visitor: httpx.Client) -> None:
    files = {"files": ("note.txt", b"The harbour of Brell holds 17 boats.")}
    job = visitor.post("/documents", files=files, data={"collection": COLLECTION})
    assert job.status_code == 202
    with visitor.stream("GET", f"/jobs/{job.json()['job_id']}/events") as events:
        assert any(line == "event: done" for line in events.iter_lines())


def test_a_document_with_a_slash_in_its_id(visitor: httpx.Client) -> None:
    query = {"collection": COLLECTION}
    for path in ("/documents/light/house", "/documents/light%2Fhouse"):
        assert visitor.get(path, params=query).json()["id"] == "light/house"


def test_problems_are_those_of_the_services(visitor: httpx.Client, suite: Suite) -> None:
    with suite.client() as direct:
        for path, body in (("/generate", {"query": ""}), ("/rerank", {}), ("/embed", {"input": 7})):
            mine, theirs = (
                client.post(path, json=body, headers={"X-Request-Id": "same"}) for client in (visitor, direct)
            )
            assert mine.status_code == theirs.status_code == 400
            assert mine.json() == theirs.json()
        unknown = [client.get("/nowhere", headers={"X-Request-Id": "same"}).json() for client in (visitor, direct)]
        assert unknown[0] == unknown[1]


def test_the_command_line_talks_to_the_door(front: Nginx, visitor: httpx.Client, tmp_path: Path) -> None:
    environment = {**os.environ, "RAGLINE_URL": front.url, "COLUMNS": "200"}
    command = [
        sys.executable,
        "-m",
        "ragline.cli",
        "ask",
        "When was the lighthouse built?",
        "--collection",
        COLLECTION,
    ]
    ended = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=True)
    assert "1874" in ended.stdout


def test_pages_and_descriptions_come_from_the_services(visitor: httpx.Client) -> None:
    for service in SERVICES:
        page = visitor.get(f"/docs/{service}")
        assert page.status_code == 200
        assert f"/openapi/{service}.json" in page.text
        schema = visitor.get(f"/openapi/{service}.json")
        assert json.loads(schema.content)["paths"]
