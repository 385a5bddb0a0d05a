"""Where passages and their scores come from: the retriever and the reranker, over gRPC."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import grpc

from ragline.errors import Internal
from ragline.grpc_client import call
from ragline.v1 import reranker_pb2, reranker_pb2_grpc, retriever_pb2, retriever_pb2_grpc
from ragline.v1.passage_pb2 import Statistics
from services.generator.events import Question
from services.generator.fusing import Wording, fuse

CHECK_S = 2.0
MODES = {
    "hybrid": retriever_pb2.MODE_HYBRID,
    "dense": retriever_pb2.MODE_DENSE,
    "sparse": retriever_pb2.MODE_SPARSE,
    "auto": retriever_pb2.MODE_AUTO,
}


@dataclass(frozen=True)
class Scores:
    """What the reranker said: an entry a candidate, in their order; ``order`` are their places, best first.

    ``scorer`` is empty where none answered; ``failed`` are those that were to answer before it. ``trial``: it
    answers a share of the questions, as a canary.
    """

    entries: Sequence[reranker_pb2.RerankScore]
    order: Sequence[int]
    scorer: str
    failed: tuple[str, ...]
    trial: bool = False


@dataclass(frozen=True)
class Timeouts:
    """The longest wait for each service, in seconds."""

    retrieve_s: float
    rerank_s: float


class Sources:
    """Both services as plain calls. ``reranker`` None: there is none, and order and scores are the search's.

    ``vectors`` asks the retriever for the questions' vectors, too.
    """

    def __init__(
        self,
        retriever: grpc.aio.Channel,
        reranker: grpc.aio.Channel | None,
        timeouts: Timeouts,
        *,
        vectors: bool = False,
    ) -> None:
        self.retriever = retriever_pb2_grpc.RetrieverStub(retriever)
        self.reranker = None if reranker is None else reranker_pb2_grpc.RerankerStub(reranker)
        self.timeouts = timeouts
        self.vectors = vectors

    async def check(self) -> None:
        """Raise Unavailable unless the retriever answers; without the reranker there still are answers."""
        request = retriever_pb2.ListDocumentsRequest(tenant="default", collection="default", limit=1)
        await call(self.retriever.ListDocuments, request, timeout_s=CHECK_S)

    async def search(
        self, question: Question, top_k: int, others: Sequence[str] = ()
    ) -> tuple[retriever_pb2.SearchResponse, tuple[Wording, ...]]:
        """The passages that match the question, or ``others``, wordings of it, too; and which found what.

        The response has exactly one result, which is of all wordings, all searched for in one call.
        Raises NotFound for an unknown collection, TimedOut where it does not come to the generation in time.
        """
        wanted = question.retrieval
        request = retriever_pb2.SearchRequest(
            tenant=question.tenant,
            collection=question.collection,
            queries=[question.query, *others],
            top_k=top_k,
            filter_json=question.filter_json,
            mode=MODES.get(wanted.mode, retriever_pb2.MODE_HYBRID),
            wait_for=wanted.wait_for,
            dense_weight=wanted.dense_weight,
            fusion=wanted.fusion,
            diversity=wanted.diversity,
            neighbours=wanted.neighbours,
            collapse=wanted.collapse,
            vectors=self.vectors,
        )
        response = await call(self.retriever.Search, request, timeout_s=self.timeouts.retrieve_s)
        if not others:
            return response, ()
        if len(response.results) != len(request.queries):
            raise Internal("The retriever did not search for each wording once.")
        found = [[hit.passage.id for hit in result.hits] for result in response.results]
        wordings = tuple(Wording(text, tuple(ids)) for text, ids in zip(request.queries, found, strict=True))
        fused = fuse(response.results, top_k)
        del response.results[:]
        response.results.append(fused)
        return response, wordings

    async def rerank(
        self,
        query: str,
        candidates: Sequence[reranker_pb2.Candidate],
        statistics: Statistics,
        scorer: str = "",
        *,
        explain: bool = False,
    ) -> Scores:
        """The candidates' scores; raises Internal where one has none, InvalidRequest for an unknown scorer."""
        if self.reranker is None:
            raise RuntimeError("there is no reranker to ask; the caller looks first")
        request = reranker_pb2.RerankRequest(
            query=query, candidates=candidates, statistics=statistics, scorer=scorer, explain=explain
        )
        response = await call(self.reranker.Rerank, request, timeout_s=self.timeouts.rerank_s)
        order = [entry.index for entry in response.scores]
        if sorted(order) != list(range(len(candidates))):
            raise Internal("The reranker did not score each candidate once.")
        if not any(entry.raw for entry in response.scores):
            # Of a release that knew no other score; replicas are upgraded one by one.
            for entry in response.scores:
                entry.raw = entry.score
        entries = sorted(response.scores, key=lambda entry: entry.index)
        return Scores(entries, order, response.scorer, tuple(response.degraded), response.trial)

    async def collections(self, tenant: str) -> Sequence[retriever_pb2.CollectionState]:
        """What collections there are, by name."""
        request = retriever_pb2.DescribeRequest(tenant=tenant)
        described = await call(self.retriever.Describe, request, timeout_s=self.timeouts.retrieve_s)
        return described.collections

    async def scorer(self) -> str:
        """The scorer that the reranker asks by default; empty where there is no reranker."""
        if self.reranker is None:
            return ""
        request = reranker_pb2.RerankRequest(query="?")
        response = await call(self.reranker.Rerank, request, timeout_s=self.timeouts.rerank_s)
        return response.scorer

    async def document(self, tenant: str, collection: str, document_id: str) -> retriever_pb2.Document:
        """A document with its source text; raises NotFound."""
        request = retriever_pb2.GetDocumentRequest(tenant=tenant, collection=collection, document_id=document_id)
        response = await call(self.retriever.GetDocument, request, timeout_s=self.timeouts.retrieve_s)
        return response.document
