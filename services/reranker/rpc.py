"""The gRPC door: ragline.v1.Reranker."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict
from functools import partial
from typing import Any

import grpc

from ragline.errors import InvalidRequest
from ragline.v1 import passage_pb2, reranker_pb2, reranker_pb2_grpc
from services.reranker.rerank import Reranker, Score
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
        rerank = partial(
            self.reranker.rerank,
            request.query,
            [candidate(each, index) for index, each in enumerate(request.candidates)],
            top_n=request.top_n or None,
            statistics=statistics(request.statistics) if request.HasField("statistics") else None,
            scorer=request.scorer or None,
        )
        try:
            ranking = await rerank(explain=request.explain)
        except InvalidRequest as error:
            # Services pass on that an answer is to be explained, whatever the scorer; so it is a wish here.
            if not request.explain or not any(each.get("field") == "explain" for each in error.errors):
                raise
            ranking = await rerank(explain=False)
        return reranker_pb2.RerankResponse(
            scores=[score(each) for each in ranking.scores],
            scorer=ranking.scorer,
            degraded=ranking.degraded,
            trial=ranking.trial,
        )


def add(reranker: Reranker) -> Callable[[grpc.aio.Server], Sequence[str]]:
    """What registers the service on a server."""

    def register(server: grpc.aio.Server) -> Sequence[str]:
        reranker_pb2_grpc.add_RerankerServicer_to_server(RerankerRpc(reranker), server)
        return [NAME]

    return register


def candidate(message: reranker_pb2.Candidate, index: int) -> Candidate:
    """A candidate with its scores, None where the search did not give one, and the spans asked for."""
    return Candidate(
        text=message.text,
        dense_score=message.dense_score if message.HasField("dense_score") else None,
        sparse_score=message.sparse_score if message.HasField("sparse_score") else None,
        fused=message.fused_score if message.HasField("fused_score") else None,
        spans=spans(message, index),
    )


def spans(message: reranker_pb2.Candidate, index: int) -> tuple[tuple[int, int], ...]:
    """The pairs of offsets; raises InvalidRequest for those that are no pieces of the text."""
    pairs = tuple(zip(message.spans[::2], message.spans[1::2], strict=False))
    if 2 * len(pairs) != len(message.spans) or any(not a <= b <= len(message.text) for a, b in pairs):
        raise InvalidRequest(
            f"candidates[{index}].spans must be pairs (start, end) within the text.",
            field=f"candidates[{index}].spans",
        )
    return pairs


def score(made: Score) -> reranker_pb2.RerankScore:
    """A candidate's scores, with its matches where they were asked for."""
    return reranker_pb2.RerankScore(
        index=made.index,
        score=made.score,
        raw=made.raw,
        matches=[reranker_pb2.Match(**asdict(match)) for match in made.matches or ()],
        spans=made.spans,
    )


def statistics(message: passage_pb2.Statistics) -> Statistics | None:
    """The collection's statistics; None where it has no passages, which says nothing of any word."""
    if len(message.token_ids) != len(message.passage_frequencies):
        raise InvalidRequest("statistics needs one passage frequency a token id.", field="statistics")
    if not message.passages:
        return None
    pairs = zip(message.token_ids, message.passage_frequencies, strict=True)
    return Statistics(passages=message.passages, frequencies=dict(pairs), fingerprint=message.fingerprint)
