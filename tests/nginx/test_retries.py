"""What is done again on another replica when one fails, and what never is."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx
import pytest

from tests.nginx.replica import Replica, running
from tests.servers.nginx import HOST, SERVICES, Nginx, wait_until
from tests.suite import free_ports


@pytest.fixture
def pool(tmp_path: Path) -> Iterator[list[Replica]]:
    """Five replicas of every service."""
    with running(tmp_path, *(f"replica{number}" for number in range(5))) as replicas:
        yield replicas


@pytest.fixture
def door(tmp_path: Path, pool: list[Replica]) -> Iterator[Nginx]:
    """A door in front of them that leaves it to nginx to find out which live."""
    addresses = [replica.address for replica in pool]
    with Nginx(tmp_path / "door", dict.fromkeys(SERVICES, addresses), NGINX_PROBE_S="0") as opened:
        yield opened


def arrivals(pool: list[Replica], identity: str) -> int:
    """How many replicas a request reached."""
    return sum(replica.arrived(identity) for replica in pool)


def test_readers_are_tried_again_a_bounded_number_of_times(door: Nginx, pool: list[Replica]) -> None:
    """A request that kills whoever takes it may not take all replicas with it."""
    with door.client() as client:
        answer = client.post("/rerank", json={"do": "die"}, headers={"X-Request-Id": "deadly"})
    assert answer.status_code == 502
    assert answer.json()["instance"] == "deadly"
    assert arrivals(pool, "deadly") == 3


@pytest.mark.parametrize("path", ["/embed", "/retrieve", "/rerank", "/generate", "/summarize", "/v1/rerank"])
def test_a_reader_goes_to_another_replica(tmp_path: Path, path: str) -> None:
    """The one that took it dies before it answered."""
    with running(tmp_path, "one", "two") as pair:
        addresses = [replica.address for replica in pair]
        with Nginx(tmp_path / "door", dict.fromkeys(SERVICES, addresses), NGINX_PROBE_S="0") as door:
            assert answer_over_a_death(door, path, pair).status_code == 200
        assert [replica.arrived("again") for replica in pair] == [1, 1]


def answer_over_a_death(door: Nginx, path: str, pair: list[Replica]) -> httpx.Response:
    """The answer to a request whose first replica is killed while it works; the second one is let finish."""

    def send() -> httpx.Response:
        with door.client() as client:
            return client.post(path, json={"do": "wait", "for": "gate"}, headers={"X-Request-Id": "again"})

    with ThreadPoolExecutor() as threads:
        answer = threads.submit(send)
        wait_until(lambda: arrivals(pair, "again") == 1, lambda: "nobody took it")
        next(replica for replica in pair if replica.arrived("again")).kill()
        wait_until(lambda: arrivals(pair, "again") == 2, lambda: "nobody took it again")
        pair[0].open("gate")
        return answer.result()


@pytest.mark.parametrize("path", ["/documents?die=1", "/batches?die=1", "/v1/documents?die=1"])
def test_an_upload_is_never_sent_twice(door: Nginx, pool: list[Replica], path: str) -> None:
    with door.client() as client:
        answer = client.post(path, json={"documents": []}, headers={"X-Request-Id": "once"})
    assert answer.status_code == 502
    assert arrivals(pool, "once") == 1


@pytest.mark.parametrize("method", ["GET", "DELETE"])
def test_what_is_idempotent_by_its_method_is_tried_again(door: Nginx, pool: list[Replica], method: str) -> None:
    with door.client() as client:
        answer = client.request(method, "/documents/a?die=1", headers={"X-Request-Id": "idempotent"})
    assert answer.status_code == 502
    assert arrivals(pool, "idempotent") == 3


def test_an_upload_passes_over_a_replica_that_takes_no_connection(tmp_path: Path, replica: Replica) -> None:
    """Nothing was sent to it, so nothing is sent twice."""
    dead = [f"{HOST}:{port}" for port in free_ports(2)]
    with (
        Nginx(tmp_path / "door", {"preprocess": [*dead, replica.address]}, NGINX_PROBE_S="0") as door,
        door.client() as client,
    ):
        for number in range(12):
            answer = client.post("/documents", json=[number])
            assert answer.status_code == 202


def test_the_only_replica_is_never_given_up(tmp_path: Path, replica: Replica) -> None:
    """It is tried at once when it is back, however often it failed."""
    with Nginx(tmp_path / "door", {"preprocess": [replica.address]}) as door, door.client() as client:
        replica.kill()
        assert {client.post("/embed", json={}).status_code for _ in range(20)} == {502}
        replica.start()
        assert {client.post("/embed", json={}).status_code for _ in range(20)} == {200}


def test_a_refusal_is_an_answer(door: Nginx, pool: list[Replica]) -> None:
    """A service that is full says so; asking the next one would fill that, too."""
    with door.client() as client:
        order = {"do": "refuse", "status": 503}
        assert client.post("/rerank", json=order, headers={"X-Request-Id": "full"}).status_code == 503
    assert arrivals(pool, "full") == 1
