"""What the generator asks of the reranker, and what it makes of its answer."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from dataclasses import replace

import grpc
import httpx
import orjson
import pytest
import pytest_asyncio

import ragline.cache
from ragline import grpc_client
from ragline.errors import InvalidRequest
from ragline.http import create_app
from ragline.v1 import generator_pb2, generator_pb2_grpc, reranker_pb2, reranker_pb2_grpc
from ragline.v1.passage_pb2 import Passage
from ragline.v1.retriever_pb2 import Hit
from services.generator import api, rpc
from services.generator.asking import Limits
from services.generator.checks.evidence import split
from services.generator.checks.pieces import Pieces
from services.generator.events import Question, Ranked
from services.generator.sources import Scores
from tests.generator import world

ASKED = Question("default", "default", "How long is the warranty of the Kestrel router?", 2, 200)
LIMITS = Limits(query_chars=200, filter_chars=1000, top_k=20, answer_tokens=500)


class Noting(reranker_pb2_grpc.RerankerServicer):
    """Scores by shared words; notes what it was sent, and says who failed before as it is told."""

    def __init__(self) -> None:
        self.sent: list[reranker_pb2.RerankRequest] = []
        self.scorer = "noting"
        self.failed: Sequence[str] = ()
        self.old = self.spanless = False

    async def Rerank(  # noqa: N802 - gRPC's name
        self, request: reranker_pb2.RerankRequest, context: object
    ) -> reranker_pb2.RerankResponse:
        self.sent.append(request)
        if request.scorer not in ("", "noting", "other"):
            raise InvalidRequest(f"No scorer {request.scorer!r} is loaded here.", field="scorer")
        words = request.query.casefold().strip("?").split()

        def share(text: str) -> float:
            return sum(word in text.casefold() for word in words) / len(words)

        scores = []
        for index, each in enumerate(request.candidates):
            pairs = zip(each.spans[::2], each.spans[1::2], strict=True)
            spans = [] if self.spanless else [5 * share(each.text[start:end]) - 1 for start, end in pairs]
            scores.append(self.score(index, share(each.text), request.explain))
            scores[-1].spans.extend(spans)
        return reranker_pb2.RerankResponse(
            scores=sorted(scores, key=lambda each: -each.score) if self.scorer else scores,
            scorer=self.scorer and (request.scorer or self.scorer),
            degraded=self.failed,
        )

    def score(self, index: int, share: float, explain: bool) -> reranker_pb2.RerankScore:
        """The share as score and, scaled, as raw; a match of a word in the heading."""
        match = reranker_pb2.Match(start=0, end=3, query_start=0, query_end=3, similarity=0.5)
        return reranker_pb2.RerankScore(
            index=index, score=share, raw=0.0 if self.old else 5 * share - 1, matches=[match] if explain else []
        )

    def add(self, server: grpc.aio.Server) -> Sequence[str]:
        reranker_pb2_grpc.add_RerankerServicer_to_server(self, server)
        return ["ragline.v1.Reranker"]


@pytest.fixture
def noting() -> Noting:
    return Noting()


@pytest_asyncio.fixture
async def channel(noting: Noting) -> AsyncIterator[grpc.aio.Channel]:
    """A channel to the reranker that notes."""
    async with world.serving(noting.add) as opened:
        yield opened


@pytest_asyncio.fixture
async def client(retriever: grpc.aio.Channel, channel: grpc.aio.Channel) -> AsyncIterator[httpx.AsyncClient]:
    made = world.answerer(retriever, channel), world.summarizer(retriever)
    app = create_app("generator", [api.router(*made, LIMITS, max_documents=3)], checks={})
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://generator") as opened:
        yield opened


async def test_the_scorer_asked_for_scores_passages_and_sentences(
    client: httpx.AsyncClient, noting: Noting
) -> None:
    body = {"query": ASKED.query, "scorer": "other", "explain": True, "top_k": 2}
    answer = (await client.post("/generate", json=body)).json()
    assert [request.scorer for request in noting.sent] == ["other", "other"]
    assert all(candidate.HasField("fused_score") for candidate in noting.sent[0].candidates)
    told = answer["explain"]
    assert told["scorer"] == "other"
    for passage in told["passages"]:
        assert passage["raw"] == pytest.approx(5 * passage["score"] - 1, abs=1e-6)
        (match,) = passage["matches"]
        assert (match["query"], match["start"]) == ("How", None)
    assert [passage["score"] for passage in told["passages"]] == sorted(
        (passage["score"] for passage in told["passages"]), reverse=True
    )
    assert answer["citations"][0]["document_id"] == "kestrel"


async def test_the_sentences_are_scored_by_whoever_scored_the_passages(
    client: httpx.AsyncClient, noting: Noting
) -> None:
    await client.post("/generate", json={"query": ASKED.query})
    assert [request.scorer for request in noting.sent] == ["", "noting"]


@pytest.mark.parametrize("name", ["nobody", "", "x" * 101])
async def test_a_scorer_that_there_is_not_is_a_problem_of_the_field(client: httpx.AsyncClient, name: str) -> None:
    answer = await client.post("/generate", json={"query": ASKED.query, "scorer": name})
    assert answer.status_code == 400
    assert answer.json()["errors"][0]["field"] == "scorer"


async def test_without_a_reranker_no_scorer_can_be_chosen(retriever: grpc.aio.Channel) -> None:
    with pytest.raises(InvalidRequest, match="no reranker here"):
        await world.answerer(retriever, None).answer(replace(ASKED, scorer="other"))


async def test_grpc_takes_a_scorer_too(
    retriever: grpc.aio.Channel, channel: grpc.aio.Channel, noting: Noting
) -> None:
    async with world.serving(rpc.add(world.answerer(retriever, channel), LIMITS)) as door:
        stub = generator_pb2_grpc.GeneratorStub(door)
        request = generator_pb2.AnswerRequest(tenant="default", query=ASKED.query, scorer="other", explain=True)
        events = [event async for event in grpc_client.stream(stub.Answer, request, timeout_s=10)]
        assert orjson.loads(events[-1].done.explain_json)["scorer"] == "other"
        request.scorer = "nobody"
        with pytest.raises(InvalidRequest) as caught:
            [event async for event in grpc_client.stream(stub.Answer, request, timeout_s=10)]
        assert caught.value.errors[0]["field"] == "scorer"


async def test_who_stood_in_is_told_and_nobody_is_rerank(
    retriever: grpc.aio.Channel, channel: grpc.aio.Channel, noting: Noting
) -> None:
    cache = ragline.cache.open("memory://")
    asked = world.answerer(retriever, channel, cache=cache)
    noting.failed = ["late"]
    done = await asked.answer(ASKED)
    assert done.outcome.degraded == ("rerank:late",)
    noting.scorer = ""
    done = await asked.answer(ASKED)
    assert not done.cached
    assert done.outcome.degraded == ("rerank",)
    noting.failed, noting.scorer = (), "noting"
    assert (await asked.answer(ASKED)).outcome.degraded == ()
    assert (await asked.answer(ASKED)).cached


async def test_an_answer_is_kept_for_its_scorer(retriever: grpc.aio.Channel, channel: grpc.aio.Channel) -> None:
    asked = world.answerer(retriever, channel, cache=ragline.cache.open("memory://"))
    assert [
        (await asked.answer(replace(ASKED, scorer=name))).cached for name in ("", "other", "noting", "other")
    ] == [
        False,
        False,
        False,
        True,
    ]


async def test_a_reranker_of_before_raw_scores_is_understood(
    retriever: grpc.aio.Channel, channel: grpc.aio.Channel, noting: Noting
) -> None:
    noting.old = noting.spanless = True
    done = await world.answerer(retriever, channel).answer(replace(ASKED, explain=True))
    assert done.outcome.explain is not None
    assert all(passage["raw"] == passage["score"] > 0 for passage in done.outcome.explain["passages"])
    assert done.outcome.degraded == ("rerank",)
    assert done.outcome.citations


async def test_sentences_are_spans_of_what_was_embedded(client: httpx.AsyncClient, noting: Noting) -> None:
    body = {"query": ASKED.query, "explain": True, "top_k": 2}
    told = (await client.post("/generate", json=body)).json()["explain"]
    passages, pieces = noting.sent
    assert {each.text for each in pieces.candidates} <= {each.text for each in passages.candidates}
    assert len(pieces.candidates) == 2
    sentences = {each["text"] for each in told["sentences"]}
    cut = {
        each.text[start:end]
        for each in pieces.candidates
        for start, end in zip(each.spans[::2], each.spans[1::2], strict=True)
    }
    assert cut == sentences


async def test_a_neighbours_sentence_is_asked_about_by_itself() -> None:
    text = "Before it. The lock is open. It is green. After it."
    hit = Hit(passage=Passage(title="Alm", text=text), own_start=11, own_end=41)
    sentences = split([hit.passage])
    pieces = Pieces(sentences, [Ranked(hit, 0.5, 1)])
    assert [each.text for each in pieces.candidates] == [
        "Alm\nBefore it.",
        "Alm\nThe lock is open. It is green.",
        "Alm\nAfter it.",
    ]
    own = pieces.candidates[1]
    assert [own.text[start:end] for start, end in zip(own.spans[::2], own.spans[1::2], strict=True)] == [
        "The lock is open.",
        "It is green.",
    ]
    entries = [reranker_pb2.RerankScore(index=n, raw=n / 4, spans=[0.7, 0.9] if n == 1 else []) for n in range(3)]
    assert pieces.scores(Scores(entries, [0, 1, 2], "noting", ())) == pytest.approx([0.0, 0.7, 0.9, 0.5])


async def test_without_scores_of_spans_words_decide(
    retriever: grpc.aio.Channel, channel: grpc.aio.Channel, noting: Noting
) -> None:
    noting.spanless, noting.failed = True, ["noting:spans"]
    done = await world.answerer(retriever, channel).answer(ASKED)
    assert done.outcome.degraded == ("rerank:noting:spans",)
    assert done.outcome.answer.startswith("The Kestrel router comes with a two-year warranty. [1]")
