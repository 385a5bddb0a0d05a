"""One line of JSON for each request, with nothing in it that is nobody's business."""

import socket
from typing import Any

import httpx

from tests.nginx.replica import Replica
from tests.servers.nginx import HOST, Nginx, wait_until


def test_a_line_says_what_happened(client: httpx.Client, door: Nginx, replicas: dict[str, Replica]) -> None:
    headers = {"X-Request-Id": "logged-1", "User-Agent": 'a "quoted" agent'}
    client.post("/embed?key=secret", json={}, headers=headers)
    line = found(door, "logged-1")
    assert line["method"] == "POST"
    assert line["path"] == "/embed"
    assert line["status"] == 200
    assert line["upstream"] == replicas["preprocess"].address
    assert line["upstream_status"] == "200"
    assert line["client"] == HOST
    assert line["agent"] == 'a "quoted" agent'
    assert float(line["upstream_s"]) > 0
    assert "secret" not in str(line)


def test_probes_are_not_logged(client: httpx.Client, door: Nginx) -> None:
    client.get("/healthz")
    client.get("/", headers={"X-Request-Id": "logged-2"})
    found(door, "logged-2")
    assert not any(line["path"] == "/healthz" for line in door.requests())


def test_a_hostile_request_is_one_good_line(door: Nginx) -> None:
    hostile = b'GET /\xff\x1b"\\ HTTP/1.1\r\nHost: x\r\nX-Request-Id: logged-3\r\nUser-Agent: \xff\x1b"\r\n\r\n'
    with socket.create_connection((HOST, door.port)) as connection:
        connection.sendall(hostile)
        connection.recv(65_536)
    wait_until(
        lambda: any(line["path"] == "(not ASCII)" for line in door.requests()), lambda: str(door.requests()[-3:])
    )


def found(door: Nginx, identity: str) -> dict[str, Any]:
    """The line of a request, which is written after its answer."""
    wait_until(
        lambda: any(line["request_id"] == identity for line in door.requests()), lambda: str(door.requests()[-3:])
    )
    return next(line for line in door.requests() if line["request_id"] == identity)
