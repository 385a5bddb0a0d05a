"""Event streams through the door: at once, for long, many at a time, and ended when either side goes."""

from __future__ import annotations

import asyncio
import json
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.nginx.raw import TIMEOUT_S
from tests.nginx.replica import Replica
from tests.servers.nginx import HOST, Nginx, wait_until

STREAMS = 200


@pytest.fixture
def streaming(tmp_path: Path, replica: Replica) -> Iterator[Nginx]:
    """A door whose replica the test may kill, with read time-outs of a second."""
    upstreams = {"generator": [replica.address], "preprocess": [replica.address]}
    with Nginx(tmp_path / "door", upstreams, NGINX_STREAM_TIMEOUT_S="1") as door:
        yield door


def order(count: int, gate: str, **more: Any) -> dict[str, Any]:
    """A stream of ``count`` tokens, each after the first behind ``gate`` and its number."""
    return {"do": "stream", "count": count, "for": gate, **more}


@pytest.mark.parametrize("path", ["/generate", "/v1/generate", "/summarize", "/v1/chat/completions"])
@pytest.mark.parametrize("kind", ["stream", "stream plainly"])
def test_each_event_comes_when_it_is_written(
    client: httpx.Client, replicas: dict[str, Replica], path: str, kind: str
) -> None:
    """The next is written only when this one has been read; with the header of unbuffered answers and without."""
    gate = f"{path.replace('/', '-')}-{kind.replace(' ', '-')}-"
    with client.stream("POST", path, json=order(3, gate, do=kind)) as answer:
        assert answer.headers["content-type"].startswith("text/event-stream")
        texts = []
        for line in answer.iter_lines():
            if "data: " in line and "text" in line:
                texts.append(line)
                replicas["generator"].open(f"{gate}{len(texts)}")
    assert len(texts) == 3


def test_heartbeats_keep_a_silent_stream_open(streaming: Nginx, replica: Replica) -> None:
    """Beyond the read time-out, as long as heartbeats come more often than that."""
    with streaming.client() as client:
        with client.stream("POST", "/generate", json=order(2, "beat", heartbeat_s=0.3)) as answer:
            beats = 0
            events = []
            for line in answer.iter_lines():
                beats += line == ": heartbeat"
                if beats == 6:
                    replica.open("beat1")
                if line.startswith("event: "):
                    events.append(line.removeprefix("event: "))
        assert events == ["token", "token", "done"]


def test_a_stream_without_heartbeats_is_given_up(streaming: Nginx) -> None:
    with (
        streaming.client() as client,
        pytest.raises(httpx.RemoteProtocolError),
        client.stream("POST", "/generate", json=order(2, "none")) as answer,
    ):
        list(answer.iter_lines())


def test_a_replica_that_dies_ends_its_stream_without_done(streaming: Nginx, replica: Replica) -> None:
    """And nothing is begun again behind the back of a client that has had a part."""
    headers = {"X-Request-Id": "cut"}
    with (
        streaming.client() as client,
        client.stream("POST", "/generate", json=order(2, "never"), headers=headers) as answer,
    ):
        lines = answer.iter_lines()
        assert next(lines) == "event: token"
        replica.kill()
        with pytest.raises(httpx.RemoteProtocolError):
            list(lines)
    assert replica.arrived("cut") == 1


def test_a_client_that_leaves_is_told_to_the_service(streaming: Nginx, replica: Replica) -> None:
    with streaming.client() as client:
        with client.stream("POST", "/generate", json=order(2, "never", heartbeat_s=0.1)) as answer:
            assert next(answer.iter_lines()) == "event: token"
        wait_until(lambda: "left" in replica.notes(), lambda: str(replica.notes()))
    body = json.dumps({"do": "wait", "for": "never"})
    head = f"Host: {HOST}\r\nX-Request-Id: leaves\r\nContent-Type: application/json\r\nContent-Length: {len(body)}"
    with socket.create_connection((HOST, streaming.port), TIMEOUT_S) as connection:
        connection.sendall(f"POST /embed HTTP/1.1\r\n{head}\r\n\r\n{body}".encode())
        wait_until(lambda: replica.arrived("leaves") == 1, lambda: str(replica.notes()))
    wait_until(lambda: "cancelled" in replica.notes(), lambda: str(replica.notes()))


async def test_many_idle_streams_are_open_at_once(door: Nginx, replicas: dict[str, Replica]) -> None:
    limits = httpx.Limits(max_connections=None)
    began = asyncio.Semaphore(0)

    async def follow(client: httpx.AsyncClient) -> list[str]:
        events = []
        async with client.stream("POST", "/generate", json=order(2, "idle")) as answer:
            async for line in answer.aiter_lines():
                if line.startswith("event: "):
                    events.append(line.removeprefix("event: "))
                    began.release()
        return events

    async with httpx.AsyncClient(base_url=door.url, timeout=60, limits=limits, trust_env=False) as client:
        streams = [asyncio.create_task(follow(client)) for _ in range(STREAMS)]
        for _ in range(STREAMS):
            await began.acquire()
        # All are open and silent; others are served meanwhile.
        assert (await client.post("/rerank", json={})).status_code == 200
        counters = (await client.get(door.status_url)).text
        assert int(counters.split()[2]) > STREAMS
        replicas["generator"].open("idle1")
        assert await asyncio.gather(*streams) == [["token", "token", "done"]] * STREAMS


def test_a_failure_inside_a_stream_is_its_last_event(client: httpx.Client) -> None:
    """The deadline that the client set passes through the door to the service, which tells of its end."""
    with client.stream(
        "POST", "/generate", json=order(2, "unopened"), headers={"X-Request-Timeout-S": "0.3"}
    ) as answer:
        lines = list(answer.iter_lines())
    assert "event: error" in lines
    assert json.loads(lines[lines.index("event: error") + 1].removeprefix("data: "))["status"] == 504
