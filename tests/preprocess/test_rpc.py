"""The gRPC door, over a real server."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence

import grpc
import numpy as np
import pytest

from ragline import cache as caches
from ragline.errors import TooLarge
from ragline.grpc_client import call, channel
from ragline.grpc_server import GrpcServer
from ragline.v1 import preprocess_pb2 as pb
from ragline.v1 import preprocess_pb2_grpc
from services.preprocess.embed import Embedding
from services.preprocess.embedders.hashing import Hashing
from services.preprocess.limits import Limits
from services.preprocess.loaded import Loaded
from services.preprocess.rpc import PreprocessRpc


@pytest.fixture
async def stub() -> AsyncIterator[preprocess_pb2_grpc.PreprocessAsyncStub]:
    cache = caches.open("memory://")
    loaded = Loaded(Embedding(Hashing(64), cache), Embedding(Hashing(32), cache))
    await loaded.start()

    def add(server: grpc.aio.Server) -> Sequence[str]:
        door = PreprocessRpc(loaded, Limits(max_inputs=3, max_chars=50))
        preprocess_pb2_grpc.add_PreprocessServicer_to_server(door, server)
        return [pb.DESCRIPTOR.services_by_name["Preprocess"].full_name]

    server = GrpcServer("127.0.0.1:0", add, max_message_mb=8, drain_s=1)
    port = await server.start()
    async with channel(f"127.0.0.1:{port}", max_message_mb=8) as opened:
        yield preprocess_pb2_grpc.PreprocessStub(opened)
    await server.stop()
    await loaded.close()


@pytest.mark.parametrize("kind", [pb.EmbedRequest.KIND_QUERY, pb.EmbedRequest.KIND_PASSAGE])
async def test_vectors_and_word_pieces_arrive(
    stub: preprocess_pb2_grpc.PreprocessAsyncStub, kind: pb.EmbedRequest.Kind.ValueType
) -> None:
    texts = ["a cat sat", "", "a cat sat"]
    response = await call(stub.Embed, pb.EmbedRequest(texts=texts, kind=kind), timeout_s=10)
    expected = Hashing(64).embed(texts)
    vectors = np.frombuffer(response.vectors, "<f4").reshape(3, response.dimensions)
    np.testing.assert_array_equal(vectors, expected.vectors)
    assert [list(each.ids) for each in response.token_ids] == [ids.tolist() for ids in expected.token_ids]
    assert (response.model, response.fingerprint, response.tokens) == ("hashing-64", "hashing-1-64", 6)


@pytest.mark.parametrize(("asked", "used"), [("", 64), ("hashing-1-64", 64), ("hashing-1-32", 32), ("gone", 64)])
async def test_the_embedder_is_chosen_by_its_fingerprint(
    stub: preprocess_pb2_grpc.PreprocessAsyncStub, asked: str, used: int
) -> None:
    response = await call(stub.Embed, pb.EmbedRequest(texts=["a cat"], fingerprint=asked), timeout_s=10)
    assert (response.dimensions, response.fingerprint) == (used, f"hashing-1-{used}")
    np.testing.assert_array_equal(
        np.frombuffer(response.vectors, "<f4"), Hashing(used).embed(["a cat"]).vectors[0]
    )


async def test_no_texts_give_no_vectors(stub: preprocess_pb2_grpc.PreprocessAsyncStub) -> None:
    response = await call(stub.Embed, pb.EmbedRequest(), timeout_s=10)
    assert (response.vectors, response.dimensions) == (b"", 64)


@pytest.mark.parametrize(("texts", "setting"), [(["a"] * 4, "MAX_INPUTS"), (["a", "x" * 51], "MAX_CHARS")])
async def test_too_much_is_refused_by_the_name_of_the_limit(
    stub: preprocess_pb2_grpc.PreprocessAsyncStub, texts: list[str], setting: str
) -> None:
    with pytest.raises(TooLarge, match=setting):
        await call(stub.Embed, pb.EmbedRequest(texts=texts), timeout_s=10)
