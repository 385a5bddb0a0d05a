"""The gRPC door: vectors for the services that need them at query time."""

from __future__ import annotations

import grpc

from ragline.v1 import preprocess_pb2 as pb
from ragline.v1 import preprocess_pb2_grpc
from services.preprocess.embed import PASSAGE, QUERY
from services.preprocess.limits import Limits
from services.preprocess.loaded import Loaded


class PreprocessRpc(preprocess_pb2_grpc.PreprocessServicer):
    """Embeds; with ``token_vectors`` those are kept for the reranker."""

    def __init__(self, loaded: Loaded, limits: Limits, *, token_vectors: bool = True) -> None:
        self.loaded, self.limits, self.token_vectors = loaded, limits, token_vectors

    async def Embed(  # noqa: N802 - named by the proto
        self, request: pb.EmbedRequest, context: grpc.aio.ServicerContext[pb.EmbedRequest, pb.EmbedResponse]
    ) -> pb.EmbedResponse:
        """Vectors in the order of the texts, by the embedder asked for if it is loaded; queries go first."""
        self.limits.check(request.texts, field="texts")
        passages = request.kind == pb.EmbedRequest.KIND_PASSAGE
        embedding = self.loaded.of(request.fingerprint) or self.loaded.first
        result = await embedding.embed(
            request.texts, lane=PASSAGE if passages else QUERY, token_vectors=self.token_vectors
        )
        return pb.EmbedResponse(
            vectors=result.vectors.astype("<f4").tobytes(),
            dimensions=result.dimensions,
            model=result.model,
            fingerprint=result.fingerprint,
            tokens=sum(result.tokens),
            token_ids=[pb.TokenIds(ids=ids.tolist()) for ids in result.token_ids],
        )
