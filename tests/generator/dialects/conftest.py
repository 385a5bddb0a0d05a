"""What the tests of other clients' doors are handed."""

from collections.abc import AsyncIterator

import grpc
import pytest
import pytest_asyncio

from tests.generator.dialects.place import Library, Served, serving


@pytest.fixture
def shelf() -> Library:
    """A retriever with four short documents."""
    return Library()  # type: ignore[abstract]  # gRPC refuses what it lacks


@pytest_asyncio.fixture
async def served(retriever: grpc.aio.Channel, reranker: grpc.aio.Channel) -> AsyncIterator[Served]:
    """The doors, with the LLM that needs no model."""
    async with serving(retriever, reranker) as running:
        yield running
