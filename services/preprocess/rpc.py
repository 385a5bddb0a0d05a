"""The gRPC door: vectors for the services that need them at query time."""

from __future__ import annotations

import grpc

from ragline.v1 import preprocess_pb2 as pb
from ragline.v1 import preprocess_pb2_grpc
from services.preprocess.embed import PASSAGE, QUERY, Embedding
from services.preprocess.limits import Limits


class PreprocessRpc(preprocess_pb2_grpc.PreprocessServicer):
    """Embeds; with ``token_vectors`` those of passages are kept for the reranker."""

    def __init__(self, embedding: Embedding, limits: Limits, *, token_vectors: bool = True) -> None:
        self.embedding, self.limits, self.token_vectors = embedding, limits, token_vectors

    async def Embed(  # noqa: N802 - named by the proto
        self, request: pb.EmbedRequest, context: grpc.aio.ServicerContext[pb.EmbedRequest, pb.EmbedResponse]
    ) -> pb.EmbedResponse:
        """Vectors in the order of the texts; queries go ahead of passages."""
        self.limits.check(request.texts, field="texts")
        passages = request.kind == pb.EmbedRequest.KIND_PASSAGE
        result = await self.embedding.embed(
            request.texts, lane=PASSAGE if passages else QUERY, token_vectors=passages and self.token_vectors
        )
        return pb.EmbedResponse(
            vectors=result.vectors.astype("<f4").tobytes(),
            dimensions=result.dimensions,
            model=result.model,
            fingerprint=result.fingerprint,
            tokens=sum(result.tokens),
            token_ids=[pb.TokenIds(ids=ids.tolist()) for ids in result.token_ids],
        )
