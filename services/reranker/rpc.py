"""The gRPC door: ragline.v1.Reranker."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import grpc

from ragline.errors import InvalidRequest
from ragline.v1 import passage_pb2, reranker_pb2, reranker_pb2_grpc
from services.reranker.rerank import Reranker
from services.reranker.scorers import Candidate, Statistics

NAME: str = reranker_pb2.DESCRIPTOR.services_by_name["Reranker"].full_name


class RerankerRpc(reranker_pb2_grpc.RerankerServicer):
    """Turns messages into the use case's plain types and back."""

    def __init__(self, reranker: Reranker) -> None:
        self.reranker = reranker

    async def Rerank(  # noqa: N802 - gRPC's name
        self,
        request: reranker_pb2.RerankRequest,
        context: grpc.aio.ServicerContext[Any, Any],
    ) -> reranker_pb2.RerankResponse:
        """The scores of the candidates, best first; none for none."""
        ranking = await self.reranker.rerank(
            request.query,
            [candidate(each) for each in request.candidates],
            top_n=request.top_n or None,
            statistics=statistics(request.statistics) if request.HasField("statistics") else None,
            scorer=request.scorer or None,
        )
        scores = [reranker_pb2.RerankScore(index=each.index, score=each.score) for each in ranking.scores]
        return reranker_pb2.RerankResponse(scores=scores, scorer=ranking.scorer)


def add(reranker: Reranker) -> Callable[[grpc.aio.Server], Sequence[str]]:
    """What registers the service on a server."""

    def register(server: grpc.aio.Server) -> Sequence[str]:
        reranker_pb2_grpc.add_RerankerServicer_to_server(RerankerRpc(reranker), server)
        return [NAME]

    return register


def candidate(message: reranker_pb2.Candidate) -> Candidate:
    """A candidate with its scores, None where the search did not give one."""
    return Candidate(
        text=message.text,
        dense_score=message.dense_score if message.HasField("dense_score") else None,
        sparse_score=message.sparse_score if message.HasField("sparse_score") else None,
    )


def statistics(message: passage_pb2.Statistics) -> Statistics | None:
    """The collection's statistics; None where it has no passages, which says nothing of any word."""
    if len(message.token_ids) != len(message.passage_frequencies):
        raise InvalidRequest("statistics needs one passage frequency a token id.", field="statistics")
    if not message.passages:
        return None
    pairs = zip(message.token_ids, message.passage_frequencies, strict=True)
    return Statistics(passages=message.passages, frequencies=dict(pairs))
