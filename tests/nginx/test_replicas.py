"""The door follows the replicas of each service as they come and go, and loses nothing with one."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.nginx.load import load
from tests.nginx.replica import Replica, running
from tests.servers.nginx import Nginx, wait_until


@pytest.fixture
def pair(tmp_path: Path) -> Iterator[list[Replica]]:
    """Two replicas."""
    with running(tmp_path, "one", "two") as replicas:
        yield replicas


def test_a_service_that_comes_later_is_found(tmp_path: Path, replica: Replica) -> None:
    with Nginx(tmp_path / "door") as door, door.client() as client:
        assert client.post("/rerank", json={}).status_code == 503
        door.set_upstreams({"reranker": [replica.address]})
        assert client.post("/rerank", json={}).status_code == 200
        assert client.post("/embed", json={}).status_code == 503


def test_a_name_that_is_gone_is_still_known(tmp_path: Path, replica: Replica) -> None:
    """A DNS server that is away takes no service with it."""
    with Nginx(tmp_path / "door", {"reranker": [replica.address]}) as door, door.client() as client:
        (door.names / "reranker").unlink()
        door.reload()
        door.set_upstreams({"embedder": []})
        assert client.post("/rerank", json={}).status_code == 200


def test_replicas_come_and_go_under_load(tmp_path: Path, pair: list[Replica]) -> None:
    one, two = pair
    with Nginx(tmp_path / "door", {"reranker": [one.address]}) as door, load(door) as load_on:
        load_on.await_more()
        assert set(load_on.served_by()) == {"one"}
        door.set_upstreams({"reranker": [one.address, two.address]})
        start = len(load_on.answers)
        load_on.await_more(400)
        shares = load_on.served_by(start)
        assert min(shares.values()) / shares.total() >= 0.4, shares
        door.set_upstreams({"reranker": [two.address]})
        load_on.await_more(8)  # the answers that were on their way
        start = len(load_on.answers)
        load_on.await_more()
        assert set(load_on.served_by(start)) == {"two"}


def test_a_replica_is_lost_without_a_failed_request(tmp_path: Path, pair: list[Replica]) -> None:
    """Killed, so that even those that it was working on are done by the other; DNS still names it."""
    one, two = pair
    with Nginx(tmp_path / "door", {"reranker": [one.address, two.address]}) as door, load(door) as load_on:
        load_on.await_more()
        one.kill()
        load_on.await_more()
        wait_until(lambda: door.listed("reranker") == [two.address], lambda: door.log)
        one.start()
        wait_until(lambda: len(door.listed("reranker")) == 2, lambda: door.log)
        start = len(load_on.answers)
        load_on.await_more()
        wait_until(lambda: load_on.served_by(start)["one"] > 0, lambda: "it is not used again")


def test_a_replica_that_stops_is_lost_without_a_failed_request(tmp_path: Path, pair: list[Replica]) -> None:
    one, two = pair
    with Nginx(tmp_path / "door", {"reranker": [one.address, two.address]}) as door, load(door) as load_on:
        load_on.await_more()
        one.stop()
        load_on.await_more(100)


def test_a_paused_replica_is_left_out(tmp_path: Path, pair: list[Replica]) -> None:
    """It takes connections and answers none; those that it holds end when it goes on."""
    one, two = pair
    upstreams = {"reranker": [one.address, two.address]}
    with Nginx(tmp_path / "door", upstreams, NGINX_PROBE_S="1") as door, load(door) as load_on:
        load_on.await_more()
        before = door.workers()
        one.pause()
        wait_until(lambda: door.listed("reranker") == [two.address], lambda: door.log)
        door.await_workers(before)
        with door.client() as client:
            assert {client.post("/rerank", json={}).json()["name"] for _ in range(20)} == {"two"}
        one.resume()
        wait_until(lambda: len(door.listed("reranker")) == 2, lambda: door.log)


def test_the_last_replicas_are_never_left_out(tmp_path: Path, pair: list[Replica]) -> None:
    """If none answers, leaving out all would only make it worse."""
    one, two = pair
    both = sorted([one.address, two.address])
    with Nginx(tmp_path / "door", {"reranker": both}, NGINX_PROBE_S="1") as door, door.client() as client:
        one.pause()
        two.pause()
        wait_until(lambda: len(list((door.run / "misses").iterdir())) == 2, lambda: door.log)
        door.reload()
        assert door.listed("reranker") in ([one.address], [two.address], both)
        one.resume()
        two.resume()
        wait_until(lambda: door.listed("reranker") == both, lambda: door.log)
        assert client.post("/rerank", json={}).status_code == 200
