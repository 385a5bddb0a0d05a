from __future__ import annotations

import math
from collections.abc import AsyncIterator, Sequence
from typing import Any

import pytest
import pytest_asyncio

from ragline import grpc_client
from ragline.errors import InvalidRequest, TooLarge, Unavailable
from ragline.grpc_server import GrpcServer
from ragline.v1 import passage_pb2, reranker_pb2, reranker_pb2_grpc
from services.reranker import rpc
from services.reranker.chain import Safety
from services.reranker.rerank import Limits, Reranker
from services.reranker.scorers import Candidate, Match, Parts, Statistics
from services.reranker.scorers._calibration import Logistic
from services.reranker.scorers._open import open_scorer
from tests.reranker.rosters import roster


class Noting:
    """Prefers what the search did, and notes what it was handed."""

    name = "noting"

    def __init__(self) -> None:
        self.passages: Sequence[Candidate] = ()
        self.statistics: Statistics | None = None

    async def score(
        self, query: str, passages: Sequence[Candidate], statistics: Statistics | None
    ) -> Sequence[float]:
        self.passages, self.statistics = passages, statistics
        return [passage.dense_score or 0.0 for passage in passages]


@pytest.fixture
def noting() -> Noting:
    return Noting()


@pytest_asyncio.fixture
async def stub(noting: Noting, parts: Parts) -> AsyncIterator[reranker_pb2_grpc.RerankerAsyncStub]:
    scorers = {"noting": noting, "overlap": open_scorer("overlap", parts, {})}
    reranker = Reranker(roster(scorers), Limits(max_passages=3))
    server = GrpcServer("127.0.0.1:0", rpc.add(reranker), max_message_mb=8, drain_s=0)
    port = await server.start()
    async with grpc_client.channel(f"127.0.0.1:{port}", max_message_mb=8) as channel:
        yield reranker_pb2_grpc.RerankerStub(channel)
    await server.stop()


def request(count: int = 3, **fields: Any) -> reranker_pb2.RerankRequest:
    candidates = [reranker_pb2.Candidate(text=f"word {n}", dense_score=n / 4) for n in range(count)]
    return reranker_pb2.RerankRequest(query="word", candidates=candidates, **fields)


async def test_round_trip(stub: reranker_pb2_grpc.RerankerAsyncStub) -> None:
    response = await grpc_client.call(stub.Rerank, request(), timeout_s=5)
    assert [each.index for each in response.scores] == [2, 1, 0]
    assert response.scorer == "noting"


async def test_top_n(stub: reranker_pb2_grpc.RerankerAsyncStub) -> None:
    response = await grpc_client.call(stub.Rerank, request(top_n=1), timeout_s=5)
    assert [each.index for each in response.scores] == [2]


async def test_a_scorer_may_be_chosen(stub: reranker_pb2_grpc.RerankerAsyncStub) -> None:
    response = await grpc_client.call(stub.Rerank, request(scorer="overlap"), timeout_s=5)
    assert response.scorer == "overlap"


async def test_nothing_for_nothing(stub: reranker_pb2_grpc.RerankerAsyncStub) -> None:
    response = await grpc_client.call(stub.Rerank, request(0), timeout_s=5)
    assert list(response.scores) == []


async def test_scores_and_statistics_arrive(stub: reranker_pb2_grpc.RerankerAsyncStub, noting: Noting) -> None:
    counts = passage_pb2.Statistics(passages=10, token_ids=[5, 7], passage_frequencies=[1, 0], fingerprint="words")
    sent = request(0, statistics=counts)
    sent.candidates.add(text="a", sparse_score=2.0, fused_score=0.5)
    sent.candidates.add(text="b", dense_score=0.0)
    await grpc_client.call(stub.Rerank, sent, timeout_s=5)
    assert list(noting.passages) == [Candidate("a", None, 2.0, 0.5), Candidate("b", 0.0, None)]
    assert noting.statistics == Statistics(10, {5: 1, 7: 0}, "words")


@pytest.mark.parametrize("statistics", [None, passage_pb2.Statistics()])
async def test_no_statistics(
    stub: reranker_pb2_grpc.RerankerAsyncStub, noting: Noting, statistics: passage_pb2.Statistics | None
) -> None:
    noting.statistics = Statistics(1, {})
    await grpc_client.call(stub.Rerank, request(statistics=statistics), timeout_s=5)
    assert noting.statistics is None


async def test_errors_are_the_ones_that_were_raised(stub: reranker_pb2_grpc.RerankerAsyncStub) -> None:
    with pytest.raises(InvalidRequest, match="there is noting, overlap"):
        await grpc_client.call(stub.Rerank, request(scorer="nothing"), timeout_s=5)
    with pytest.raises(TooLarge, match="RERANKER_MAX_PASSAGES=3"):
        await grpc_client.call(stub.Rerank, request(4), timeout_s=5)
    with pytest.raises(InvalidRequest) as caught:
        await grpc_client.call(stub.Rerank, reranker_pb2.RerankRequest(), timeout_s=5)
    assert caught.value.errors[0]["field"] == "query"
    crooked = request(statistics=passage_pb2.Statistics(passages=1, token_ids=[1]))
    with pytest.raises(InvalidRequest, match="one passage frequency a token id"):
        await grpc_client.call(stub.Rerank, crooked, timeout_s=5)
    for bad in ([1], [0, 7], [3, 2]):
        sent = request(1)
        sent.candidates[0].spans.extend(bad)
        with pytest.raises(InvalidRequest) as caught:
            await grpc_client.call(stub.Rerank, sent, timeout_s=5)
        assert caught.value.errors[0]["field"] == "candidates[0].spans"


async def test_to_explain_is_a_wish(stub: reranker_pb2_grpc.RerankerAsyncStub) -> None:
    response = await grpc_client.call(stub.Rerank, request(explain=True), timeout_s=5)
    assert [each.index for each in response.scores] == [2, 1, 0]
    assert not any(each.matches for each in response.scores)


class Showing(Noting):
    """Says of each passage and span how long it is; matches its first letter."""

    name = "showing"
    calibration = Logistic(slope=2.0, middle=5.0)

    async def score(
        self, query: str, passages: Sequence[Candidate], statistics: Statistics | None
    ) -> Sequence[float]:
        return [float(len(passage.text)) for passage in passages]

    async def spans(
        self, query: str, passages: Sequence[Candidate], statistics: Statistics | None
    ) -> list[list[float]]:
        return [[float(end - start) for start, end in passage.spans] for passage in passages]

    async def explain(self, query: str, passages: Sequence[str]) -> Sequence[Sequence[Match]]:
        return [[Match(0, 1, 0, len(query), 0.5)] for _ in passages]


class Failing(Noting):
    """Is away."""

    name = "failing"

    async def score(
        self, query: str, passages: Sequence[Candidate], statistics: Statistics | None
    ) -> Sequence[float]:
        raise Unavailable("The scorer is away.")


async def test_scores_matches_and_spans_of_whoever_stood_in() -> None:
    both = roster({"failing": Failing(), "showing": Showing()})
    reranker = Reranker(both, Limits(), safety=Safety(fallback=("showing",)))
    server = GrpcServer("127.0.0.1:0", rpc.add(reranker), max_message_mb=8, drain_s=0)
    port = await server.start()
    async with grpc_client.channel(f"127.0.0.1:{port}", max_message_mb=8) as channel:
        stub = reranker_pb2_grpc.RerankerStub(channel)
        sent = reranker_pb2.RerankRequest(query="word", scorer="showing", explain=True)
        sent.candidates.add(text="\U0001f642\u00e9, five", spans=[0, 1, 1, 8])
        sent.candidates.add(text="none.")
        response = await grpc_client.call(stub.Rerank, sent, timeout_s=5)
        first, second = response.scores
        assert (first.index, first.raw, second.raw) == (0, 8.0, 5.0)
        assert [first.score, second.score] == pytest.approx([1 / (1 + math.exp(-6)), 0.5])
        assert (list(first.spans), list(second.spans)) == ([1.0, 7.0], [])
        assert [(match.end, match.query_end) for match in first.matches] == [(1, 4)]
        assert (response.scorer, list(response.degraded)) == ("showing", [])
        sent.scorer, sent.explain = "", False
        response = await grpc_client.call(stub.Rerank, sent, timeout_s=5)
        assert (response.scorer, list(response.degraded)) == ("showing", ["failing"])
        assert list(response.scores[0].spans) == [1.0, 7.0]
        assert not response.scores[0].matches
    await server.stop()
