"""PREPROCESS_* variables."""

from __future__ import annotations

import pytest

from ragline.settings import SettingsError, load
from services.preprocess.settings import Settings


def test_the_environment_is_read(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PREPROCESS_EMBEDDER", "hashing")
    monkeypatch.setenv("PREPROCESS_EMBEDDER_OPTIONS", '{"dimensions": 64}')
    monkeypatch.setenv("PREPROCESS_TOKEN_VECTORS", "false")
    loaded = load(Settings)
    assert (loaded.embedder, loaded.embedder_options, loaded.token_vectors) == (
        "hashing",
        {"dimensions": 64},
        False,
    )
    assert (loaded.port, loaded.grpc_port) == (8001, 50051)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("PREPROCESS_EMBEDER", "onnx"),
        ("PREPROCESS_MAX_DOCUMENTS", "0"),
        ("PREPROCESS_WORKER_CONCURRENCY", "many"),
        ("PREPROCESS_OVERLAP_TOKENS", "500"),
        ("PREPROCESS_ROLE", "both"),
        ("PREPROCESS_HOLD_S", "0"),
    ],
)
def test_a_bad_value_stops_the_start(monkeypatch: pytest.MonkeyPatch, name: str, value: str) -> None:
    monkeypatch.setenv(name, value)
    with pytest.raises(SettingsError, match=name):
        load(Settings)
