"""Searches each query once and has every scorer order the same candidates, one call at a time."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

from grpc.aio import Channel

from ragline.errors import RaglineError
from ragline.evaluation import EvaluationError
from ragline.evaluation.asked import NONE
from ragline.evaluation.beir import Dataset
from ragline.evaluation.corpus import Corpus
from ragline.evaluation.processes import Services
from ragline.grpc_client import call, channel
from ragline.spans import embedded_text
from ragline.v1 import reranker_pb2, reranker_pb2_grpc, retriever_pb2, retriever_pb2_grpc

TENANT = "default"
WARM_UP = 3  # queries that nothing is counted of: models and caches come to their working state
MESSAGE_MB = 128
DESCRIBE_S = 60.0


@dataclass(frozen=True)
class Answer:
    """What a scorer made of a query's candidates: their places, best first, and their raw scores by place.

    ``seconds`` is the whole call as a client sees it. ``fault`` says why there is no order to judge.
    """

    order: tuple[int, ...] = ()
    raw: tuple[float, ...] = ()
    seconds: float = 0.0
    fault: str = ""


@dataclass(frozen=True)
class Judged:
    """A query, the documents of its candidate passages in the search's order, and each scorer's answer."""

    query: str
    documents: tuple[str, ...]
    answers: Mapping[str, Answer] = field(default_factory=dict)

    def ranking(self, label: str) -> list[str]:
        """The documents as a scorer orders them, each where its best passage is."""
        if label == NONE:
            return list(dict.fromkeys(self.documents))
        return list(dict.fromkeys(self.documents[place] for place in self.answers[label].order))


@dataclass(frozen=True)
class Plan:
    """What is asked of a corpus: the queries, the scorers by label, and the candidates of each query."""

    corpus: Corpus
    queries: Sequence[str]
    labels: Sequence[str]
    candidates: int
    timeout_s: float


async def stored(services: Services, corpus: Corpus) -> bool:
    """Whether all documents of a corpus are there."""
    async with channel(services.address("retriever"), max_message_mb=MESSAGE_MB) as line:
        request = retriever_pb2.DescribeRequest(tenant=TENANT, collection=corpus.collection)
        try:
            found = await call(retriever_pb2_grpc.RetrieverStub(line).Describe, request, timeout_s=DESCRIBE_S)
        except RaglineError:  # the first document makes the collection
            return False
    return any(
        each.collection == corpus.collection and each.documents == corpus.documents for each in found.collections
    )


async def measure(services: Services, data: Dataset, plan: Plan, show: Callable[[int, int], None]) -> list[Judged]:
    """Each query's candidates and answers; ``show`` is told how many queries are done, of how many.

    The scorers take turns at each query, in an order that rotates, so that a machine that is busy for a while is
    busy for all. Raises EvaluationError where the search itself fails.
    """
    async with (
        channel(services.address("retriever"), max_message_mb=MESSAGE_MB) as search,
        channel(services.address("reranker"), max_message_mb=MESSAGE_MB) as rerank,
    ):
        asking = Asking(services, (search, rerank), data, plan)
        for query in plan.queries[-WARM_UP:]:  # what is remembered of them is gone when their turn comes
            await asking.judge(query, 0)
        judged = []
        for number, query in enumerate(plan.queries):
            judged.append(await asking.judge(query, number))
            show(number + 1, len(plan.queries))
        return judged


class Asking:
    """One client of the search and of the reranker, whose lines it is given in this order."""

    def __init__(self, services: Services, lines: tuple[Channel, Channel], data: Dataset, plan: Plan) -> None:
        self.services = services
        self.search = retriever_pb2_grpc.RetrieverStub(lines[0])
        self.rerank = reranker_pb2_grpc.RerankerStub(lines[1])
        self.queries = data.queries
        self.plan = plan

    async def judge(self, query: str, number: int) -> Judged:
        """A query searched, and ordered by each scorer; ``number`` says who is first."""
        found = await self.find(self.queries[query])
        documents = tuple(self.plan.corpus.ids[int(hit.passage.document_id)] for hit in found.hits)
        labels = [label for label in self.plan.labels if label != NONE]
        turn = number % len(labels) if labels else 0
        answers = {}
        for label in labels[turn:] + labels[:turn]:
            answers[label] = await self.order(label, self.queries[query], found)
        return Judged(query, documents, answers)

    async def find(self, text: str) -> retriever_pb2.SearchResult:
        """The candidates; raises EvaluationError where there are none to be had or half of the search is away."""
        request = retriever_pb2.SearchRequest(
            tenant=TENANT,
            collection=self.plan.corpus.collection,
            queries=[text],
            top_k=self.plan.candidates,
            mode=retriever_pb2.MODE_HYBRID,
        )
        try:
            answer = await call(self.search.Search, request, timeout_s=self.plan.timeout_s)
        except RaglineError as error:
            raise EvaluationError(f"The search failed: {error.detail}") from error
        if answer.degraded:
            raise EvaluationError(
                f"The search went without {', '.join(answer.degraded)}; the machine may be busy."
            )
        return answer.results[0]

    async def order(self, label: str, text: str, found: retriever_pb2.SearchResult) -> Answer:
        """A scorer's answer; one that is not its own, or not of all candidates, is a fault."""
        request = reranker_pb2.RerankRequest(
            query=text,
            candidates=[candidate(hit) for hit in found.hits],
            statistics=found.statistics if found.HasField("statistics") else None,
            scorer=label,
        )
        begun = time.perf_counter()
        try:
            answer = await call(self.rerank.Rerank, request, timeout_s=self.plan.timeout_s)
        except RaglineError as error:
            return Answer(seconds=time.perf_counter() - begun, fault=error.detail)
        seconds = time.perf_counter() - begun
        places = tuple(score.index for score in answer.scores)
        if answer.degraded:
            return Answer(seconds=seconds, fault=self.why(label, answer.degraded))
        if sorted(places) != list(range(len(found.hits))):
            return Answer(seconds=seconds, fault="not every candidate was scored once")
        raw = dict(zip(places, (score.raw for score in answer.scores), strict=True))
        return Answer(places, tuple(raw[place] for place in range(len(places))), seconds)

    def why(self, label: str, degraded: Sequence[str]) -> str:
        """What an answer that is not the scorer's own is to be blamed on."""
        return self.services.failure(label) or f"the reranker went without {', '.join(degraded)}"


def candidate(hit: retriever_pb2.Hit) -> reranker_pb2.Candidate:
    """A hit as the suite's own search hands it to the reranker: the text that was embedded, and the scores."""
    passage = hit.passage
    made = reranker_pb2.Candidate(
        text=embedded_text(passage.title, passage.section, passage.text), fused_score=hit.score
    )
    if hit.HasField("dense_score"):
        made.dense_score = hit.dense_score
    if hit.HasField("sparse_score"):
        made.sparse_score = hit.sparse_score
    return made
