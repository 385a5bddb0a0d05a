"""A door in front of one replica that stands for all four services."""

from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from tests.nginx.replica import Replica, running
from tests.servers.nginx import SERVICES, Nginx


@pytest.fixture(autouse=True)
def installed(nginx_installed: None) -> None:
    """Every test here needs NGINX."""


@pytest.fixture(scope="module")
def replicas(tmp_path_factory: pytest.TempPathFactory, nginx_installed: None) -> Iterator[dict[str, Replica]]:
    """One process for each service, for the tests of a module that leave them alive."""
    with running(tmp_path_factory.mktemp("replicas"), *SERVICES) as started:
        yield {replica.name: replica for replica in started}


@pytest.fixture(scope="module")
def door(tmp_path_factory: pytest.TempPathFactory, replicas: dict[str, Replica]) -> Iterator[Nginx]:
    """The door with its defaults, but a small limit of bodies."""
    upstreams = {name: [replica.address] for name, replica in replicas.items()}
    with Nginx(
        tmp_path_factory.mktemp("door"), upstreams, RAGLINE_MAX_BODY_MB="1", NGINX_MAX_BATCH_MB="3"
    ) as opened:
        yield opened


@pytest.fixture(scope="module")
def client(door: Nginx) -> Iterator[httpx.Client]:
    """A client of that door."""
    with door.client() as opened:
        yield opened


@pytest.fixture
def replica(tmp_path: Path, nginx_installed: None) -> Iterator[Replica]:
    """One that the test may kill."""
    with Replica(tmp_path / "replica") as started:
        yield started
