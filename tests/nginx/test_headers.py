"""What the door adds to requests and answers, and what it believes of what clients say."""

from pathlib import Path

import httpx
import pytest

from tests.nginx.replica import Replica
from tests.servers.nginx import Nginx, wait_until


def arrived(client: httpx.Client, headers: dict[str, str]) -> dict[str, list[str]]:
    """The headers that reach a service."""
    found: dict[str, list[str]] = client.post("/embed", json={}, headers=headers).json()["headers"]
    return found


def test_an_id_of_the_client_is_kept(client: httpx.Client) -> None:
    answer = client.post("/embed", json={}, headers={"X-Request-Id": "Trace_1.a-b"})
    assert answer.headers.get_list("x-request-id") == ["Trace_1.a-b"]
    assert answer.json()["headers"]["x-request-id"] == ["Trace_1.a-b"]


@pytest.mark.parametrize("given", [None, "", "a b", 'x"y', "x" * 129, "ä"])
def test_without_a_good_id_one_is_made(client: httpx.Client, given: str | None) -> None:
    headers = {} if given is None else {b"X-Request-Id": given.encode()}
    answer = client.post("/embed", json={}, headers=headers)
    (identity,) = answer.headers.get_list("x-request-id")
    assert len(identity) == 32
    assert answer.json()["headers"]["x-request-id"] == [identity]


def test_problems_of_a_service_carry_the_id_once(client: httpx.Client) -> None:
    answer = client.post("/embed", json={"do": "refuse", "status": 429}, headers={"X-Request-Id": "given"})
    assert answer.status_code == 429
    assert answer.headers.get_list("x-request-id") == ["given"]
    assert answer.headers.get_list("retry-after") == ["7"]
    assert answer.json()["detail"] == "Full."
    assert answer.json()["instance"] == "given"


def test_a_client_cannot_say_where_it_comes_from(client: httpx.Client, door: Nginx) -> None:
    claimed = {
        "X-Forwarded-For": "10.9.8.7",
        "X-Real-IP": "10.9.8.7",
        "X-Forwarded-Proto": "https",
        "X-Forwarded-Host": "elsewhere",
        "X-Forwarded-Prefix": "/x",
        "Forwarded": "for=10.9.8.7",
        "Proxy": "http://elsewhere",
    }
    found = arrived(client, claimed)
    assert found["x-forwarded-for"] == ["127.0.0.1"]
    assert found["x-real-ip"] == ["127.0.0.1"]
    assert found["x-forwarded-proto"] == ["http"]
    assert found["x-forwarded-host"] == found["host"] == [f"127.0.0.1:{door.port}"]
    assert {"forwarded", "proxy", "x-forwarded-prefix"}.isdisjoint(found)


def test_what_belongs_to_the_request_passes(client: httpx.Client) -> None:
    given = {"X-Request-Timeout-S": "12.5", "Authorization": "Bearer abc", "Idempotency-Key": "7"}
    found = arrived(client, given)
    assert {name.lower(): [value] for name, value in given.items()}.items() <= found.items()
    assert "connection" not in found


def test_a_trusted_proxy_says_who_asks(replicas: dict[str, Replica], tmp_path: Path) -> None:
    upstreams = {"preprocess": [replicas["preprocess"].address]}
    with (
        Nginx(tmp_path, upstreams, NGINX_TRUSTED_PROXIES="127.0.0.1 10.1.0.0/16") as door,
        door.client() as client,
    ):
        given = {"X-Forwarded-For": "10.66.6.6, 198.51.100.7, 10.1.2.3", "X-Forwarded-Proto": "https"}
        found = arrived(client, given)
        wait_until(lambda: bool(door.requests()), lambda: door.log)  # a line is written after its answer
    assert found["x-forwarded-for"] == ["198.51.100.7"]
    assert found["x-forwarded-proto"] == ["https"]
    assert [line["client"] for line in door.requests()] == ["198.51.100.7"]


@pytest.mark.parametrize("path", ["/healthz", "/", "/nowhere", "/documents", "/docs", "/docs/generator"])
def test_every_answer_has_the_headers_that_browsers_obey(client: httpx.Client, path: str) -> None:
    answer = client.get(path)
    assert answer.headers["x-content-type-options"] == "nosniff"
    assert answer.headers["x-frame-options"] == "DENY"
    assert answer.headers["referrer-policy"] == "no-referrer"
    assert answer.headers["server"] == "nginx"
    assert "strict-transport-security" not in answer.headers
    policy = answer.headers["content-security-policy"]
    assert "frame-ancestors 'none'" in policy
    assert ("script-src" in policy) == path.startswith("/docs")


def test_a_service_cannot_send_the_door_elsewhere(client: httpx.Client) -> None:
    answer = client.get("/documents/x")
    assert answer.json()["name"] == "preprocess"


def test_a_redirect_stays_at_the_door(client: httpx.Client) -> None:
    answer = client.get("/jobs")  # the framework's own redirect to the path with a slash
    assert answer.status_code == 307
    assert answer.headers["location"] == "/jobs/"
