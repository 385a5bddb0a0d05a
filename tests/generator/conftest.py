"""What the generator's tests are handed."""

from collections.abc import AsyncIterator
from pathlib import Path

import grpc
import pytest
import pytest_asyncio

from ragline import grpc_client
from tests.generator import world


@pytest.fixture
def shelf() -> world.Shelf:
    """A retriever with four short documents."""
    return world.Shelf()  # type: ignore[abstract]  # gRPC refuses what it lacks


@pytest_asyncio.fixture
async def retriever(shelf: world.Shelf) -> AsyncIterator[grpc.aio.Channel]:
    """A channel to the retriever."""
    async with world.serving(shelf.add) as channel:
        yield channel


@pytest_asyncio.fixture
async def reranker(tmp_path: Path) -> AsyncIterator[grpc.aio.Channel]:
    """A channel to the real reranker, which scores by words."""
    async with world.reranking(tmp_path) as channel:
        yield channel


@pytest_asyncio.fixture
async def away() -> AsyncIterator[grpc.aio.Channel]:
    """A channel to nothing."""
    channel = grpc_client.channel("127.0.0.1:1", max_message_mb=1, idempotent=())
    yield channel
    await channel.close()
