"""What the retriever's tests are handed: a real preprocess and a real reranker to call, and a search over both."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import AsyncExitStack
from pathlib import Path

import grpc
import pytest

import ragline.cache
from ragline.grpc_client import channel
from ragline.grpc_server import GrpcServer
from ragline.models import ModelStore
from ragline.settings import Settings
from ragline.v1 import preprocess_pb2, preprocess_pb2_grpc
from services.preprocess.embed import Embedding
from services.preprocess.embedders.hashing import Hashing
from services.preprocess.limits import Limits as EmbedLimits
from services.preprocess.loaded import Loaded
from services.preprocess.rpc import PreprocessRpc
from services.reranker import rpc as reranker_rpc
from services.reranker.pool import Pool
from services.reranker.rerank import Limits as RerankLimits
from services.reranker.rerank import Reranker
from services.reranker.scorers import Parts as ScorerParts
from services.reranker.scorers import overlap
from services.retriever.asking import Options
from services.retriever.clients import PreprocessClient, RerankerClient
from services.retriever.keeping import Keeping
from services.retriever.search import Search
from services.retriever.stores.embedded import EmbeddedStore
from tests.reranker.rosters import roster
from tests.retriever.parts import open_store
from tests.retriever.process import pair  # noqa: F401 - a fixture

Add = Callable[[grpc.aio.Server], Sequence[str]]
EMBEDDER = Hashing(64)


async def serving(stack: AsyncExitStack, add: Add) -> str:
    """The address of a server that runs until the stack closes."""
    server = GrpcServer("127.0.0.1:0", add, max_message_mb=16, drain_s=0)
    port = await server.start()
    stack.push_async_callback(server.stop)
    return f"127.0.0.1:{port}"


@pytest.fixture
async def stack() -> AsyncIterator[AsyncExitStack]:
    async with AsyncExitStack() as opened:
        yield opened


@pytest.fixture
async def preprocess(stack: AsyncExitStack) -> str:
    """Address of the real preprocess door over the hashing embedder."""
    embedding = Embedding(EMBEDDER, ragline.cache.open("memory://"))
    await embedding.start()
    stack.push_async_callback(embedding.close)

    def add(server: grpc.aio.Server) -> Sequence[str]:
        preprocess_pb2_grpc.add_PreprocessServicer_to_server(
            PreprocessRpc(Loaded(embedding), EmbedLimits()), server
        )
        return [preprocess_pb2.DESCRIPTOR.services_by_name["Preprocess"].full_name]

    return await serving(stack, add)


@pytest.fixture
async def reranker(stack: AsyncExitStack) -> str:
    """Address of the real reranker with the scorer that needs no weights."""
    parts = ScorerParts(
        model=ModelStore(Settings().models_dir).resolve,
        cache=ragline.cache.open("memory://"),
        pool=Pool(1, max_waiting=64),
        threads=1,
        max_batch_tokens=4096,
        max_queue_tokens=65_536,
    )
    stack.callback(parts.pool.close)
    made = Reranker(roster({"overlap": overlap.load(parts)}), RerankLimits())
    return await serving(stack, reranker_rpc.add(made))


@pytest.fixture
def store(stack: AsyncExitStack, tmp_path: Path) -> EmbeddedStore:
    opened = open_store(tmp_path / "store")
    stack.callback(opened.close)
    return opened


Make = Callable[..., Search]


@pytest.fixture
def make(stack: AsyncExitStack, store: EmbeddedStore, preprocess: str, reranker: str) -> Make:
    """Makes a search; other addresses and options may be given."""

    def made(
        *, embedder: str = preprocess, scorer: str = reranker, keeping: Keeping | None = None, **options: object
    ) -> Search:
        channels = [channel(address, max_message_mb=16) for address in (embedder, scorer)]
        for opened in channels:
            stack.push_async_callback(opened.close)
        pool = ThreadPoolExecutor(2)
        stack.callback(pool.shutdown)
        return Search(
            store,
            PreprocessClient(channels[0], 10),
            RerankerClient(channels[1], 10),
            pool,
            Options(**{"threads": 2, **options}),  # type: ignore[arg-type]  # checked by the dataclass's users
            keeping,
        )

    return made


@pytest.fixture
def search(make: Make) -> Search:
    return make()
