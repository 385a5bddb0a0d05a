"""Opens stores in the Milvus and the Redis of the tests, each under a name of its own."""

from __future__ import annotations

import uuid
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from services.retriever import dense, sparse, stores
from services.retriever.dense import flat
from services.retriever.sparse import tantivy
from services.retriever.stores import Store

if TYPE_CHECKING:
    from services.retriever.stores.milvus import MilvusStore
    from tests.servers.milvus import MilvusServer
    from tests.servers.redis import RedisServer


def open_milvus(milvus: str, redis: str, name: str, **options: Any) -> MilvusStore:
    """A store whose collections begin with ``name``; exact, as milvus-lite's graphs come back short."""
    from services.retriever.stores import milvus as store

    parts = stores.Parts(
        folder=Path("unused"), sparse=tantivy.load(sparse.Parts(1)), dense=flat.load(dense.Parts(1)), threads=1
    )
    given: dict[str, Any] = {"index": "FLAT", "partitions": 4, "lease_s": 2.0} | options
    return store.load(parts, url=milvus, state_url=f"{redis}/0?timeout_s=10", name=name, **given)


def open_for(request: pytest.FixtureRequest, _: Path) -> Store:
    """A store of nobody else in the servers that all tests share; skips where they are not installed."""
    milvus: MilvusServer = request.getfixturevalue("milvus_server")
    redis: RedisServer = request.getfixturevalue("redis_server")
    return open_milvus(milvus.url, redis.url, f"t{uuid.uuid4().hex[:12]}")
