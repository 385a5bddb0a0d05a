"""Every sparse back end that is shipped: a new file in ``services/retriever/sparse`` is found by itself."""

from __future__ import annotations

import contextlib
from pathlib import Path

import pytest

from ragline import backends
from ragline.settings import SettingsError
from services.retriever import sparse
from services.retriever.sparse import Entry, Sparse, SparseBackend

PACKAGE = "services.retriever.sparse"
TEXTS = {
    1: "The lost message is retried after a back-off.",
    2: "Le Café de l'Étoile serves crêpes.",
    3: "全文检索系统支持中文",
    4: "To be, or not to be: that is the question.",
    5: "message queues and message brokers",
    6: "日本語の検索エンジン",
    7: "\uff21\uff22\uff23 full width",
}


def shipped() -> list[SparseBackend]:
    """All back ends whose needs are installed."""
    found = []
    for name in backends.names(PACKAGE):
        with contextlib.suppress(SettingsError):
            found.append(backends.load(PACKAGE, name, sparse.Parts(1)))
    return found


def loaded(name: str) -> SparseBackend:
    """The back end; skips where what it needs is not installed."""
    try:
        backend: SparseBackend = backends.load(PACKAGE, name, sparse.Parts(1))
    except SettingsError as error:
        pytest.skip(f"{error} pip install '.[{name}]'")
    return backend


@pytest.fixture(params=backends.names(PACKAGE))
def backend(request: pytest.FixtureRequest) -> SparseBackend:
    return loaded(request.param)


@pytest.fixture
def index(backend: SparseBackend, tmp_path: Path) -> Sparse:
    return backend.build(tmp_path / "index", [[Entry(row, "", "", text) for row, text in TEXTS.items()]])
