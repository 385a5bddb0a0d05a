"""The door's own failures: each a problem document with the id of the request."""

import threading
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from ragline.http.problems import Problem
from tests.nginx.raw import say
from tests.nginx.replica import Replica
from tests.servers.nginx import HOST, Nginx, wait_until
from tests.suite import free_ports


def check(answer: httpx.Response, status: int, title: str) -> str:
    """Hold an answer to the shape of all problems; returns its detail."""
    assert answer.status_code == status
    assert answer.headers["content-type"] == "application/problem+json"
    problem = Problem.model_validate(answer.json(), strict=True)
    assert (problem.type, problem.title, problem.status) == ("about:blank", title, status)
    assert problem.instance == answer.headers["x-request-id"]
    return problem.detail


@pytest.mark.parametrize(
    "request_head",
    [
        b"GET /jobs/1 HTTP/1.1\r\n\r\n",
        b"GET /jobs/1 HTTP/1.1\r\nHost: a b\r\n\r\n",
        b"POST /embed HTTP/1.1\r\nHost: x\r\nContent-Length: many\r\n\r\n",
        b"POST /embed HTTP/1.1\r\nHost: x\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n",
        b"POST /embed HTTP/1.1\r\nHost: x\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n",
    ],
)
def test_what_is_no_http_is_refused(door: Nginx, request_head: bytes) -> None:
    said = say(door.port, request_head)
    assert said.status == 400
    assert said.problem["title"] == "Invalid request"
    assert f"X-Request-Id: {said.problem['instance']}" in said.head


@pytest.mark.parametrize(
    ("request_line", "status"),
    [
        (b"HELLO\r\n\r\n", 400),
        (b"\x16\x03\x01\x02\x00", 400),
        (b"GET /%zz HTTP/1.1\r\nHost: x\r\n\r\n", 400),
        (b"GET / HTTP/7.1\r\nHost: x\r\n\r\n", 505),
        (b"GET /" + b"x" * 40_000 + b" HTTP/1.1\r\n\r\n", 414),
    ],
)
def test_a_request_line_that_is_none_is_refused(door: Nginx, request_line: bytes, status: int) -> None:
    said = say(door.port, request_line)
    assert said.status == said.problem["status"] == status
    assert "Content-Type: application/problem+json" in said.head
    assert f"X-Request-Id: {said.problem['instance']}" in said.head


def test_an_unknown_transfer_coding_is_refused(door: Nginx) -> None:
    said = say(
        door.port, b"POST /embed HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: gzip\r\nConnection: close\r\n\r\n"
    )
    assert said.status == 501
    assert said.problem["title"] == "Not Implemented"


def test_a_method_that_the_door_refuses(client: httpx.Client) -> None:
    check(client.request("TRACE", "/embed"), 405, "Method Not Allowed")


def test_an_id_cannot_break_the_document(client: httpx.Client) -> None:
    answer = client.get('/x"y', headers={"X-Request-Id": 'a","b":"c'})
    assert check(answer, 404, "Not found") == "There is no such path here; GET /docs lists what there is."


def test_a_body_that_stops_coming_ends_the_connection(tmp_path: Path) -> None:
    """NGINX answers nothing to a client that it gave up; the log says 408."""
    with Nginx(tmp_path, templates={"client_body_timeout 60s": "client_body_timeout 1s"}) as door:
        said = say(door.port, b"POST /embed HTTP/1.1\r\nHost: x\r\nContent-Length: 10\r\n\r\n{")
        assert said.raw == b""
        wait_until(lambda: bool(door.requests()), lambda: door.log)
        assert door.requests()[0]["status"] == 408


class TestLimits:
    """Requests and connections of one address."""

    @pytest.fixture
    def narrow(self, tmp_path: Path, replica: Replica) -> Iterator[Nginx]:
        """A door that lets little through."""
        upstreams = {"preprocess": [replica.address], "generator": [replica.address]}
        with Nginx(
            tmp_path / "door", upstreams, NGINX_RATE="1", NGINX_BURST="3", NGINX_CLIENT_CONNECTIONS="2"
        ) as door:
            yield door

    def test_requests_above_the_rate_are_refused(self, narrow: Nginx) -> None:
        with narrow.client() as client:
            answers = [client.post("/embed", json={}) for _ in range(8)]
            refused = [answer for answer in answers if answer.status_code != 200]
            assert [answer.status_code for answer in answers[:4]] == [200] * 4
            assert refused
            for answer in refused:
                assert "NGINX_RATE" in check(answer, 429, "Too many requests")
                assert answer.headers["retry-after"] == "1"
            assert client.get("/healthz").status_code == 200

    def test_requests_in_progress_above_the_limit_are_refused(self, narrow: Nginx, replica: Replica) -> None:
        waiting = [
            threading.Thread(target=post, args=(narrow, {"do": "wait", "for": "gate"}, f"busy-{number}"))
            for number in range(2)
        ]
        for thread in waiting:
            thread.start()
        wait_until(lambda: len(replica.notes()) == 2, lambda: str(replica.notes()))
        with narrow.client() as client:
            assert "NGINX_CLIENT_CONNECTIONS" in check(client.post("/embed", json={}), 429, "Too many requests")
        replica.open("gate")
        for thread in waiting:
            thread.join()


def post(door: Nginx, order: dict[str, object], identity: str) -> None:
    """One request from a client of its own."""
    with door.client() as client:
        assert client.post("/embed", json=order, headers={"X-Request-Id": identity}).status_code == 200


def test_services_that_fail(tmp_path: Path, replica: Replica) -> None:
    """Nobody there, nobody listening, dead while it worked, too slow: each has its own words."""
    upstreams = {"generator": [f"{HOST}:{free_ports(1)[0]}"], "preprocess": [replica.address]}
    with (
        Nginx(tmp_path / "door", upstreams, NGINX_READ_TIMEOUT_S="1") as door,
        door.client() as client,
    ):
        away = client.post("/retrieve", json={})
        assert check(away, 503, "Unavailable") == "The retriever is not there; try again later."
        assert away.headers["retry-after"] == "1"
        refused = client.post("/generate", json={})
        assert "generator could not be reached" in check(refused, 502, "Bad Gateway")
        assert refused.headers["retry-after"] == "1"
        slow = client.post("/embed", json={"do": "wait", "for": "ever"})
        assert check(slow, 504, "Timed out").startswith("The preprocess did not answer in the time")
        assert slow.headers["retry-after"] == "1"
        dead = client.post("/embed", json={"do": "die"})
        assert "preprocess could not be reached or broke off" in check(dead, 502, "Bad Gateway")


def test_an_answer_that_breaks_off_is_no_whole_answer(tmp_path: Path, replica: Replica) -> None:
    with (
        Nginx(tmp_path / "door", {"preprocess": [replica.address]}) as door,
        door.client() as client,
        pytest.raises(httpx.RemoteProtocolError),
    ):
        client.post("/embed", json={"do": "break"})


@pytest.mark.parametrize(("status", "detail"), [(429, "Full."), (503, "Away.")])
def test_problems_of_services_pass_untouched(client: httpx.Client, status: int, detail: str) -> None:
    answer = client.post("/embed", json={"do": "refuse", "status": status})
    assert check(answer, status, answer.json()["title"]) == detail
    assert len(answer.headers.get_list("retry-after")) == 1
