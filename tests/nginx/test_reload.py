"""New configuration and the end: what is in progress goes on."""

import os
import threading
from pathlib import Path

import httpx
import pytest

from tests.nginx.load import load
from tests.nginx.replica import Replica
from tests.servers.nginx import Nginx, wait_until


def test_reloads_under_load_lose_no_request(tmp_path: Path, replica: Replica) -> None:
    with Nginx(tmp_path / "door", {"reranker": [replica.address]}) as door, load(door) as clients:
        for _ in range(5):
            clients.await_more(30)
            door.reload()
        clients.await_more(30)


def test_a_stream_goes_on_over_reloads(tmp_path: Path, replica: Replica) -> None:
    upstreams = {"generator": [replica.address]}
    with Nginx(tmp_path / "door", upstreams) as door, door.client() as client:
        order = {"do": "stream", "count": 2, "for": "reloaded"}
        with client.stream("POST", "/generate", json=order) as answer:
            lines = answer.iter_lines()
            assert next(lines) == "event: token"
            door.reload()
            door.reload()
            replica.open("reloaded1")
            assert [line for line in lines if line.startswith("event")] == ["event: token", "event: done"]
        with door.client() as other:
            assert other.post("/generate", json={}).status_code == 200


def test_streams_that_last_too_long_end_after_a_reload(tmp_path: Path, replica: Replica) -> None:
    """Or processes of old configurations would pile up."""
    upstreams = {"generator": [replica.address]}
    with Nginx(tmp_path / "door", upstreams, NGINX_KEEP_S="1") as door, door.client() as client:
        order = {"do": "stream", "count": 2, "for": "never"}
        with client.stream("POST", "/generate", json=order) as answer:
            lines = answer.iter_lines()
            assert next(lines) == "event: token"
            door.reload()
            with pytest.raises((httpx.RemoteProtocolError, httpx.NetworkError)):  # cut between chunks, or reset
                list(lines)


def test_the_end_waits_for_requests_in_progress(tmp_path: Path, replica: Replica) -> None:
    answers: list[httpx.Response] = []
    with Nginx(tmp_path / "door", {"preprocess": [replica.address]}, NGINX_DRAIN_S="60") as door:

        def send() -> None:
            with door.client() as client:
                order = {"do": "wait", "for": "drained"}
                answers.append(client.post("/embed", json=order, headers={"X-Request-Id": "last"}))

        sender = threading.Thread(target=send)
        sender.start()
        wait_until(lambda: replica.arrived("last") == 1, lambda: door.log)
        ending = threading.Thread(target=door.stop)
        ending.start()
        wait_until(lambda: not door.answers(), lambda: "it takes requests still")
        replica.open("drained")
        sender.join()
        ending.join()
        assert answers[0].status_code == 200
        assert door.process is not None
        assert door.process.returncode == 0


def test_the_end_does_not_wait_for_ever(tmp_path: Path, replica: Replica) -> None:
    upstreams = {"generator": [replica.address]}
    with Nginx(tmp_path / "door", upstreams, NGINX_DRAIN_S="1") as door, door.client() as client:
        order = {"do": "stream", "count": 2, "for": "never"}
        with client.stream("POST", "/generate", json=order) as answer:
            lines = answer.iter_lines()
            assert next(lines) == "event: token"
            assert door.stop() == 0
            with pytest.raises(httpx.RemoteProtocolError):
                list(lines)


def test_the_script_ends_with_its_nginx(tmp_path: Path) -> None:
    """So that whoever runs it starts it again."""
    with Nginx(tmp_path / "door") as door:
        master = int((door.run / "nginx.pid").read_text())
        os.kill(master, 9)
        wait_until(door.ended, lambda: door.log)
        assert door.process is not None
        assert door.process.returncode not in {0, None}
