"""Fixtures that all tests share."""

import signal
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck
from hypothesis import settings as hypothesis_settings

from ragline.models import ModelStore
from ragline.settings import Settings, SettingsError
from tests.servers.fixtures import (
    faketime,
    llama_server,
    milvus_installed,
    milvus_server,
    nginx_installed,
    rabbitmq_installed,
    rabbitmq_server,
    redis_installed,
    redis_server,
)
from tests.suite import Suite

# Fixtures that live elsewhere.
__all__ = [
    "faketime",
    "llama_server",
    "milvus_installed",
    "milvus_server",
    "nginx_installed",
    "rabbitmq_installed",
    "rabbitmq_server",
    "redis_installed",
    "redis_server",
]

# A slow or busy machine is no fault of the code under test.
hypothesis_settings.register_profile("ragline", deadline=None, suppress_health_check=[HealthCheck.too_slow])
hypothesis_settings.load_profile("ragline")


def pytest_configure() -> None:
    """Heed Ctrl-C in a shell's background, too, where it is ignored, also by programs that tests start."""
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)
    if signal.getsignal(signal.SIGHUP) is signal.SIG_IGN:
        signal.signal(signal.SIGHUP, signal.SIG_DFL)  # under nohup; the door reloads by it


def pulled(model: str) -> Path:
    """The folder of a catalogue model, fetched if need be; skips with the reason where it cannot be had."""
    store = ModelStore(Settings().models_dir)
    try:
        return store.pull(model)
    except SettingsError as error:
        pytest.skip(f"no weights of {model}: {error}")


@pytest.fixture(scope="session")
def minilm() -> Path:
    """Folder of all-MiniLM-L6-v2."""
    return pulled("all-MiniLM-L6-v2")


@pytest.fixture(scope="session")
def smollm2() -> Path:
    """Folder of SmolLM2-135M-Instruct (one .gguf file)."""
    return pulled("SmolLM2-135M-Instruct")


@pytest.fixture(scope="session")
def suite(tmp_path_factory: pytest.TempPathFactory, minilm: Path, smollm2: Path) -> Iterator[Suite]:
    """The all-in-one with the shipped defaults, one for all tests: each keeps to a collection of its own."""
    with Suite(tmp_path_factory.mktemp("suite")) as running:
        yield running
