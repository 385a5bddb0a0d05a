"""A store of each kind: the contracts run over all of them; a new kind is added to ``STORES``."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from services.retriever.stores import Store
from tests.retriever.parts import open_store, open_tiered

STORES: dict[str, Callable[[Path], Store]] = {"embedded": open_store, "tiered": open_tiered}


@pytest.fixture(params=STORES)
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Store]:
    opened = STORES[request.param](tmp_path / "store")
    yield opened
    opened.close()
