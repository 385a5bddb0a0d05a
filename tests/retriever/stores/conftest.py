"""A store of each kind: the contracts run over all of them; a new kind is added to ``STORES``."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from services.retriever.stores import Store
from tests.retriever.milvus import open_for
from tests.retriever.parts import open_store, open_tiered

STORES: dict[str, Callable[[pytest.FixtureRequest, Path], Store]] = {
    "embedded": lambda _, folder: open_store(folder),
    "tiered": lambda _, folder: open_tiered(folder),
    "milvus": open_for,
}


@pytest.fixture(params=STORES)
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Store]:
    opened = STORES[request.param](request, tmp_path / "store")
    yield opened
    opened.close()
