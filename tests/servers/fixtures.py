"""The servers that all tests of a session share, each started by the first test that asks for it."""

from __future__ import annotations

import importlib.util
import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import NoReturn

import pytest

from tests.servers.llama import LLAMA_KEY, LlamaServer
from tests.servers.milvus import MilvusServer
from tests.servers.nginx import PROGRAM as NGINX
from tests.servers.nginx import SBIN
from tests.servers.rabbitmq import PROGRAMS, RabbitmqServer
from tests.servers.redis import RedisServer

REQUIRED = "REQUIRE_SERVERS"


def require(program: str, package: str, path: str | None = None) -> None:
    """Skip the test where the program is not installed, or fail it where all servers are required."""
    if shutil.which(program, path=path):
        return
    missing(f"{program} is not installed; apt-get install {package}")


def missing(reason: str) -> NoReturn:
    """Skip the test, or fail it where nothing may be missing."""
    if os.environ.get(REQUIRED) == "1":
        pytest.fail(reason)
    pytest.skip(reason)


@pytest.fixture(scope="session")
def redis_installed() -> None:
    """For tests that start, kill and pause a Redis of their own."""
    require("redis-server", "redis-server")
    require("redis-cli", "redis-tools")


@pytest.fixture(scope="session")
def redis_server(redis_installed: None, tmp_path_factory: pytest.TempPathFactory) -> Iterator[RedisServer]:
    """One Redis for all tests; each keeps to a ``prefix`` of its own, and none stops it."""
    with RedisServer(tmp_path_factory.mktemp("redis")) as server:
        yield server


@pytest.fixture(scope="session")
def rabbitmq_installed() -> None:
    """For tests that start, kill and pause a RabbitMQ of their own."""
    require("rabbitmq-server", "rabbitmq-server", PROGRAMS)


@pytest.fixture(scope="session")
def rabbitmq_server(
    rabbitmq_installed: None, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[RabbitmqServer]:
    """One RabbitMQ for all tests; each keeps to a ``prefix`` of its own, and none stops it."""
    with RabbitmqServer(tmp_path_factory.mktemp("rabbitmq")) as server:
        yield server


@pytest.fixture(scope="session")
def nginx_installed() -> None:
    """For tests that start an NGINX of their own."""
    require(NGINX, "nginx", f"{os.environ['PATH']}:{SBIN}")


@pytest.fixture(scope="session")
def milvus_installed() -> None:
    """For tests that start, kill and pause a Milvus of their own."""
    for package in ("pymilvus", "milvus_lite"):
        if importlib.util.find_spec(package) is None:
            missing(f"{package} is not installed; pip install -e '.[milvus,dev]'")


@pytest.fixture(scope="session")
def milvus_server(milvus_installed: None, tmp_path_factory: pytest.TempPathFactory) -> Iterator[MilvusServer]:
    """One Milvus for all tests; the collections of each have a name of their own, and none stops it."""
    with MilvusServer(tmp_path_factory.mktemp("milvus")) as server:
        yield server


@pytest.fixture(scope="session")
def faketime() -> str:
    """The library that gives the programs it is preloaded into a clock that can be set."""
    found = sorted(Path("/usr/lib").glob("*/faketime/libfaketimeMT.so.1"))
    if not found:
        missing("libfaketime is not installed; apt-get install libfaketime")
    return str(found[0])


@pytest.fixture(scope="session")
def llama_server(smollm2: Path) -> Iterator[LlamaServer]:
    """One server of the OpenAI dialect with SmolLM2 for all tests; none stops it."""
    with LlamaServer(next(smollm2.glob("*.gguf")), key=LLAMA_KEY) as server:
        yield server
