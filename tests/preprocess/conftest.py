"""Fixtures of the write path's tests."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.preprocess.world import World, retriever, world


@pytest.fixture
async def address(tmp_path: Path) -> AsyncIterator[str]:
    """A retriever's address."""
    async with retriever(tmp_path / "retriever") as served:
        yield served


@pytest.fixture
async def here(tmp_path: Path, address: str) -> AsyncIterator[World]:
    """Preprocess, its worker not started."""
    async with world(tmp_path / "preprocess", address) as parts:
        yield parts
