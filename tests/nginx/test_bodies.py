"""Bodies and headers: what is let through, how it travels, what is refused and in which words."""

import gzip
from collections.abc import Iterator

import httpx
import pytest

from tests.nginx.raw import say
from tests.nginx.replica import Replica
from tests.servers.nginx import Nginx, wait_until

MB = 1024 * 1024


@pytest.mark.parametrize("path", ["/embed", "/documents", "/v1/documents", "/generate"])
@pytest.mark.parametrize("chunked", [False, True])
def test_a_body_over_the_limit_is_refused(client: httpx.Client, path: str, chunked: bool) -> None:
    """By the door or, where it streams to the service, by whichever counts faster, in the same words."""
    identity = f"over{path.replace('/', '-')}-{chunked}"
    body = b"x" * (MB + 1)
    kind = "multipart/form-data; boundary=x" if "documents" in path else "application/json"
    headers = {"X-Request-Id": identity, "Content-Type": kind}
    answer = client.post(path, content=pieces(body) if chunked else body, headers=headers)
    assert answer.status_code == 413
    assert answer.headers["content-type"] == "application/problem+json"
    assert answer.json() == {
        "type": "about:blank",
        "title": "Too large",
        "status": 413,
        "detail": "The body is over the limit of 1 MB; RAGLINE_MAX_BODY_MB sets it.",
        "instance": identity,
    }


@pytest.mark.parametrize("path", ["/documents", "/embed"])
def test_a_body_at_the_limit_passes(client: httpx.Client, path: str) -> None:
    body = b'"' + b"x" * (MB - 2) + b'"'
    answer = client.post(path, content=body, headers={"Content-Type": "application/json"})
    # The service of these tests takes no string for an object, but it has read it.
    assert answer.json() == {"bytes": MB} or answer.json()["title"] == "Invalid request"


def test_batches_have_a_limit_of_their_own(client: httpx.Client) -> None:
    refused = client.post("/batches", content=b"x" * (3 * MB + 1))
    assert refused.status_code == 413
    assert refused.json()["detail"] == "The body is over the limit of 3 MB; NGINX_MAX_BATCH_MB sets it."
    # Between the two limits it is the service that decides.
    answer = client.post("/batches", content=b"x" * 2 * MB)
    assert answer.status_code != 413 or "RAGLINE_MAX_BODY_MB" in answer.json()["detail"]


@pytest.mark.parametrize(("path", "service"), [("/documents", "preprocess"), ("/v1/batches", "generator")])
def test_an_upload_goes_on_while_it_comes(
    client: httpx.Client, replicas: dict[str, Replica], path: str, service: str
) -> None:
    """The rest is sent only once the service has seen the beginning."""
    before = replicas[service].notes().count("first bytes")

    def body() -> Iterator[bytes]:
        yield b"--x\r\n" + b"a" * 10_000
        wait_until(lambda: replicas[service].notes().count("first bytes") > before, lambda: "held back")
        yield b"b" * 10_000

    answer = client.post(path, content=body(), headers={"Content-Type": "multipart/form-data; boundary=x"})
    assert answer.json() == {"bytes": 20_005}


def test_a_body_to_be_read_whole_is_not_held_open(client: httpx.Client, replicas: dict[str, Replica]) -> None:
    """A slow client keeps the door waiting, not the service."""

    def body() -> Iterator[bytes]:
        yield b'{"do":'
        assert replicas["preprocess"].arrived("slow-body") == 0
        yield b' "echo"}'

    headers = {"X-Request-Id": "slow-body", "Content-Type": "application/json"}
    assert client.post("/embed", content=body(), headers=headers).status_code == 200
    assert replicas["preprocess"].arrived("slow-body") == 1


def test_expect_is_answered(door: Nginx) -> None:
    head = b"POST /embed HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nConnection: close\r\n"
    said = say(door.port, head + b"Expect: 100-continue\r\nContent-Length: 2\r\n\r\n{}")
    assert said.raw.startswith(b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK")


def test_json_is_compressed_for_those_who_ask(client: httpx.Client) -> None:
    order = {"do": "fill", "bytes": 50_000}
    answer = client.post("/retrieve", json=order, headers={"Accept-Encoding": "gzip"})
    assert answer.headers["content-encoding"] == "gzip"
    assert answer.headers["vary"] == "Accept-Encoding"
    assert len(answer.content) == 50_002
    plain = client.post("/retrieve", json=order, headers={"Accept-Encoding": "identity"})
    assert "content-encoding" not in plain.headers
    assert plain.content == answer.content


def test_unbuffered_json_is_compressed_too(client: httpx.Client) -> None:
    order = {"do": "fill", "bytes": 50_000}
    with client.stream("POST", "/generate", json=order, headers={"Accept-Encoding": "gzip"}) as answer:
        raw = b"".join(answer.iter_raw())
    assert len(raw) < 1000
    assert len(gzip.decompress(raw)) == 50_002


def test_short_answers_and_streams_are_not_compressed(client: httpx.Client) -> None:
    headers = {"Accept-Encoding": "gzip"}
    assert "content-encoding" not in client.post("/retrieve", json={}, headers=headers).headers
    order = {"do": "stream", "count": 1, "for": "nothing"}
    answer = client.post("/generate", json=order, headers=headers)
    assert answer.headers["content-type"].startswith("text/event-stream")
    assert "content-encoding" not in answer.headers


def test_headers_over_the_limit_are_refused(client: httpx.Client) -> None:
    answer = client.get("/jobs/1", headers={"X-Long": "x" * 17_000, "X-Request-Id": "long"})
    assert answer.status_code == 431
    assert answer.json()["title"] == "Request Header Fields Too Large"
    assert answer.json()["status"] == 431
    assert client.get("/jobs/1", headers={"X-Long": "x" * 15_000}).status_code == 200


def test_a_path_over_the_limit_is_refused(client: httpx.Client) -> None:
    answer = client.get(f"/jobs/{'x' * 17_000}")
    assert answer.status_code == 414
    assert answer.json()["title"] == "Request-URI Too Long"
    assert client.get(f"/jobs/{'x' * 15_000}").status_code == 200


def pieces(body: bytes) -> Iterator[bytes]:
    """A body that does not say how long it is."""
    for start in range(0, len(body), 100_000):
        yield body[start : start + 100_000]
