"""The services that search asks: preprocess for query vectors, reranker for a second order."""

from __future__ import annotations

from collections.abc import Sequence

import grpc
import numpy as np

from ragline.errors import Internal
from ragline.grpc_client import call
from ragline.v1.passage_pb2 import Statistics
from ragline.v1.preprocess_pb2 import EmbedRequest
from ragline.v1.preprocess_pb2_grpc import PreprocessStub
from ragline.v1.reranker_pb2 import Candidate, RerankRequest, RerankResponse
from ragline.v1.reranker_pb2_grpc import RerankerStub
from services.retriever.asking import Embedded


class PreprocessClient:
    """Embeds queries over gRPC; see ``Embedder``."""

    def __init__(self, channel: grpc.aio.Channel, timeout_s: float) -> None:
        self.stub = PreprocessStub(channel)
        self.timeout_s = timeout_s

    async def embed(self, texts: Sequence[str], fingerprint: str) -> Embedded:
        """One vector a text; raises Internal for an answer of the wrong shape."""
        request = EmbedRequest(texts=texts, kind=EmbedRequest.KIND_QUERY, fingerprint=fingerprint)
        answer = await call(self.stub.Embed, request, timeout_s=self.timeout_s)
        vectors = np.frombuffer(answer.vectors, dtype="<f4")
        if len(vectors) != len(texts) * answer.dimensions or len(answer.token_ids) not in (0, len(texts)):
            raise Internal("preprocess answered with another number of vectors than there are queries.")
        token_ids = [list(ids.ids) for ids in answer.token_ids] or [[] for _ in texts]
        return Embedded(
            vectors.reshape(len(texts), answer.dimensions).astype(np.float32), answer.fingerprint, token_ids
        )


class RerankerClient:
    """Scores candidates over gRPC; see ``Reranker``."""

    def __init__(self, channel: grpc.aio.Channel, timeout_s: float) -> None:
        self.stub = RerankerStub(channel)
        self.timeout_s = timeout_s

    async def rerank(
        self,
        query: str,
        candidates: Sequence[Candidate],
        statistics: Statistics | None,
        scorer: str | None,
        *,
        explain: bool,
    ) -> RerankResponse:
        """The scores, best first; raises Internal for an index that was not sent."""
        request = RerankRequest(
            query=query, candidates=candidates, statistics=statistics, scorer=scorer or "", explain=explain
        )
        answer = await call(self.stub.Rerank, request, timeout_s=self.timeout_s)
        if sorted(score.index for score in answer.scores) != list(range(len(candidates))):
            raise Internal("The reranker did not score each candidate once.")
        if not any(score.raw for score in answer.scores):
            for score in answer.scores:  # of a release that knew no other score; replicas are upgraded one by one
                score.raw = score.score
        return answer
