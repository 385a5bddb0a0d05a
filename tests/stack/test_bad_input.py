"""What people and programs send by mistake or by malice is refused with a reason; the rest goes in."""

import socket
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any
from urllib.parse import quote

import httpx
import pytest

from tests.stack import files
from tests.stack.problems import clean, problem
from tests.suite import Suite, put, wait_for_job

pytestmark = [pytest.mark.models, pytest.mark.stack]

GOOD = ("good.md", b"# Good\n\nThe good document tells of quinces.")
JSON = {"content-type": "application/json"}


@pytest.fixture(autouse=True)
def alive(client: httpx.Client, suite: Suite) -> Iterator[None]:
    """Whatever a test sends, the process lives and answers after it, and nothing crashed on the way."""
    before = len(suite.log)
    yield
    assert client.get("/readyz").status_code == 200
    assert client.post("/embed", json={"input": "still here"}).status_code == 200
    assert "crashed" not in suite.log[before:]


def send(client: httpx.Client, collection: str, *sent: tuple[str, bytes]) -> dict[str, Any]:
    """The ended job of some files, with a good one among them that must have gone in."""
    answer = client.post(
        "/documents", files=[("files", file) for file in (*sent, GOOD)], data={"collection": collection}
    )
    assert answer.status_code == 202, answer.text
    job = wait_for_job(client, answer.json()["job_id"])
    found = client.post("/retrieve", json={"query": "quinces", "collection": collection, "mode": "sparse"})
    assert [passage["document_id"] for passage in found.json()["passages"]] == ["good.md"]
    for error in job["errors"]:
        clean(error["reason"])
        assert len(error["reason"]) < 600
        assert error["reason"].endswith(".")
    return job


BROKEN = {
    "broken.pdf": (files.pdf("Hello.")[:200], "PDF"),
    "garbage.pdf": (b"%PDF-1.7\n" + bytes(range(256)) * 40, "PDF"),
    "locked.pdf": (files.pdf("Secret.", locked=True), "password"),
    "bomb.docx": (files.word_bomb(), "MB"),
    "broken.docx": (files.word("Hello.")[:900], ""),
    "program.txt": (files.program(), ""),
    "picture.txt": (files.picture(), ""),
    "picture.md": (files.picture(), ""),
    "empty.txt": (b"", "empty"),
    "blank.txt": (b" \n\t\n" * 50, ""),
    "nothing.html": (b"<html><body><script>x()</script></body></html>", ""),
    "archive.zip": (b"PK\x05\x06" + bytes(18), ""),
    "none.csv": (b"\x00\x00\x00\x00", ""),
}


@pytest.mark.parametrize("name", BROKEN)
def test_a_bad_file_fails_alone(client: httpx.Client, collection: str, name: str) -> None:
    data, reason = BROKEN[name]
    job = send(client, collection, (name, data))
    assert job["state"] == "done"
    assert [error["document_id"] for error in job["errors"]] in ([name], [f"{name}#1"]), job
    assert reason in job["errors"][0]["reason"]
    assert client.get(f"/documents/{name}", params={"collection": collection}).status_code == 404


def test_a_bad_line_fails_alone(client: httpx.Client, collection: str) -> None:
    lines = b'{"id": "one", "text": "The first."}\n{"id": "two", "text": \n{"id": "three", "text": "The third."}\n'
    job = send(client, collection, ("lines.jsonl", lines))
    assert [error["document_id"] for error in job["errors"]] == ["lines.jsonl#2"]
    assert "2" in job["errors"][0]["reason"]
    for name in ("one", "three"):
        assert client.get(f"/documents/{name}", params={"collection": collection}).status_code == 200


def test_all_bad_files_at_once(client: httpx.Client, collection: str) -> None:
    job = send(client, collection, *((name, data) for name, (data, _) in BROKEN.items()))
    assert job["failed"] == len(BROKEN)


def test_a_job_of_bad_files_alone_failed(client: httpx.Client, collection: str) -> None:
    sent = {"files": ("locked.pdf", BROKEN["locked.pdf"][0])}
    answer = client.post("/documents", files=sent, data={"collection": collection})
    assert wait_for_job(client, answer.json()["job_id"])["state"] == "failed"


def test_a_deeply_nested_page_ends(client: httpx.Client, collection: str) -> None:
    job = send(client, collection, ("deep.html", files.html_bomb()))
    assert job["state"] == "done"
    if not job["errors"]:
        document = client.get("/documents/deep.html", params={"collection": collection}).json()
        assert "bottom" in document["text"]


ENCODED = {
    "utf16.txt": "Die Löwen fressen Zwetschgen.".encode("utf-16"),
    "utf16le.txt": ("Die Löwen fressen Zwetschgen am Abend. " * 4).encode("utf-16-le"),
    "utf8-bom.txt": "Die Löwen fressen Zwetschgen.".encode("utf-8-sig"),
    "latin.txt": ("Die Löwen fressen Zwetschgen. Über die Brücke führt kein Weg. " * 4).encode("latin-1"),
    "latin.html": "<meta charset=iso-8859-1><p>Die Löwen fressen Zwetschgen.".encode("latin-1"),
}


@pytest.mark.parametrize("name", ENCODED)
def test_other_encodings_are_read(client: httpx.Client, collection: str, name: str) -> None:
    assert send(client, collection, (name, ENCODED[name]))["errors"] == []
    body = {"query": "Löwen Zwetschgen", "collection": collection, "mode": "sparse"}
    passage = client.post("/retrieve", json=body).json()["passages"][0]
    assert passage["document_id"] == name
    assert "Die Löwen fressen Zwetschgen" in passage["text"]


def test_japanese_is_read(client: httpx.Client, collection: str) -> None:
    text = "港の灯台は千八百六十一年に建てられました。船は毎朝九時に出港します。" * 6
    assert send(client, collection, ("port.txt", text.encode("shift-jis")))["errors"] == []
    read = client.get("/documents/port.txt", params={"collection": collection}).json()
    assert "灯台" in read["text"]


def test_nul_and_bidi_characters_do_no_harm(client: httpx.Client, collection: str) -> None:
    text = "The \x00pilot\u202e of the \u2066tug\u2069 \u200bwears\x07 a \x1b[31mred\x1b[0m cap."
    assert put(client, [{"id": "cap", "text": text}], collection)["errors"] == []
    stored = client.get("/documents/cap", params={"collection": collection}).json()["text"]
    assert stored == text
    body = {"query": "What does the pilot of the tug wear?", "collection": collection}
    found = client.post("/retrieve", json=body).json()["passages"][0]
    assert "pilot of the tug wears" in found["text"]
    answer = client.post("/generate", json=body).json()
    assert "\u202e" not in answer["answer"]
    assert "\x00" not in answer["answer"]
    for citation in answer["citations"]:
        assert stored[citation["start"] : citation["end"]] == citation["quote"]


def test_a_line_of_100_000_words(client: httpx.Client, collection: str) -> None:
    words = "the ship sails to the far port " * 14_285 + "with one more kumquat"
    assert len(words.split()) > 99_990
    job = send(client, collection, ("line.txt", words.encode()))
    assert job["errors"] == []
    body = {"query": "kumquat", "collection": collection, "mode": "sparse"}
    last = client.post("/retrieve", json=body).json()["passages"][0]
    assert last["end"] == len(words)


def test_one_word_of_a_million_letters(client: httpx.Client, collection: str) -> None:
    assert send(client, collection, ("word.txt", b"a" * 1_000_000))["state"] == "done"


def test_a_document_over_the_limit(client: httpx.Client, collection: str) -> None:
    job = send(client, collection, ("huge.txt", b"huge words " * (33 << 20 >> 3)))
    assert "MAX_DOCUMENT_MB" in job["errors"][0]["reason"].upper()
    text = "x" * (33 << 20)
    answer = client.post("/documents", json={"collection": collection, "documents": [{"id": "a", "text": text}]})
    problem(answer, 413, "documents[0].text", "PREPROCESS_MAX_DOCUMENT_MB")


def test_a_body_over_the_limit(client: httpx.Client) -> None:
    def endless() -> Iterator[bytes]:
        yield b'{"documents":[{"text":"'
        for _ in range(70):
            yield b"x" * (1 << 20)
        yield b'"}]}'

    problem(client.post("/documents", content=endless(), headers=JSON), 413, "RAGLINE_MAX_BODY_MB")


def test_a_body_announced_as_endless(client: httpx.Client, suite: Suite) -> None:
    head = b"POST /documents HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n{"
    with socket.create_connection(("127.0.0.1", suite.port), timeout=60) as connection:
        connection.sendall(head % 10**12)
        assert connection.recv(4096).startswith(b"HTTP/1.1 413")


def test_ids_that_come_twice_in_one_request(client: httpx.Client, collection: str) -> None:
    documents = [{"id": "a", "text": "one"}, {"id": "b", "text": "two"}, {"id": "a", "text": "three"}]
    answer = client.post("/documents", json={"collection": collection, "documents": documents})
    problem(answer, 400, "documents[0].id", "documents[2].id")
    problem(client.get("/documents/b", params={"collection": collection}), 404)
    twice = [("files", ("a.txt", b"one")), ("files", ("a.txt", b"two"))]
    problem(client.post("/documents", files=twice, data={"collection": collection}), 400, "files[1]")


WEIRD = [
    "a/b/c",
    "with space",
    "tromsø/日本/😀",
    "what?",
    "50%",
    "a%2Fb",
    "#1",
    "a#0",
    "../../etc/passwd",
    "a//b",
    "/leading",
    "trailing/",
    "'; DROP TABLE documents; --",
    '"quoted"',
    "a\\b",
    "a&b=c",
    "+",
    "x" * 512,
    "events",
    "...",
]


def test_weird_ids_work_everywhere(client: httpx.Client, collection: str) -> None:
    documents = [{"id": name, "text": f"Number {n} of the names is nice."} for n, name in enumerate(WEIRD)]
    job = put(client, documents, collection)
    assert (job["state"], job["errors"]) == ("done", [])
    page = client.get("/documents", params={"collection": collection}).json()["documents"]
    assert {document["id"] for document in page} == set(WEIRD)
    for n, name in enumerate(WEIRD):
        body = {"query": f"Number {n}", "collection": collection, "filter": {"document_id": name}}
        hits = client.post("/retrieve", json=body).json()["passages"]
        assert [hit["document_id"] for hit in hits] == [name]
        path = f"/documents/{quote(name, safe='')}"
        answer = client.get(path, params={"collection": collection})
        assert answer.json().get("id") == name, (name, answer.text)
        assert client.delete(path, params={"collection": collection}).status_code == 200
    assert client.get("/documents", params={"collection": collection}).json()["documents"] == []


@pytest.mark.parametrize("name", ["", " ", ".", "..", "x" * 513, "a\nb", "a\x00b", 7, ["a"]])
def test_ids_that_cannot_be(client: httpx.Client, name: Any) -> None:
    problem(client.post("/documents", json={"documents": [{"id": name, "text": "x"}]}), 400, "documents[0].id")


@pytest.mark.parametrize("name", ["", "a b", "-a", "a/b", "x" * 65, "ä", "..", 'a"b'])
def test_collections_that_cannot_be(client: httpx.Client, name: str) -> None:
    problem(client.post("/documents", json={"collection": name, "documents": [{"text": "x"}]}), 400, "collection")
    problem(client.post("/retrieve", json={"collection": name, "query": "x"}), 400, "collection")
    problem(client.post("/generate", json={"collection": name, "query": "x"}), 400, "collection")
    problem(client.get("/documents", params={"collection": name}), 400, "collection")


def test_unknown_collections_are_named_with_the_known(client: httpx.Client, handbook: str) -> None:
    for path in ("/retrieve", "/generate"):
        problem(client.post(path, json={"query": "x", "collection": "nowhere"}), 404, "nowhere", handbook)
    problem(client.get("/documents/a", params={"collection": "nowhere"}), 404)


def test_many_small_requests_at_once(client: httpx.Client, handbook: str) -> None:
    def one(n: int) -> int:
        if n % 3 == 0:
            return client.post("/retrieve", json={"query": f"pump {n}", "collection": handbook}).status_code
        if n % 3 == 1:
            return client.post("/embed", json={"input": f"pump {n}"}).status_code
        return client.post("/retrieve", json={"query": "", "collection": handbook}).status_code

    with ThreadPoolExecutor(64) as pool:
        statuses = list(pool.map(one, range(600)))
    assert set(statuses[0::3]) | set(statuses[1::3]) <= {200, 429}
    assert set(statuses[2::3]) == {400}
    assert statuses.count(200) > 300
