"""What a search tells the reranker, and what it makes of what comes back."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import AsyncExitStack

import httpx
import pytest

from ragline.cache import open as open_cache
from ragline.errors import InvalidRequest
from ragline.http import create_app
from ragline.spans import embedded_text
from ragline.v1 import reranker_pb2, reranker_pb2_grpc
from services.retriever import api
from services.retriever.asking import Request
from services.retriever.keeping import Keeping
from services.retriever.limits import Limits
from services.retriever.stores.embedded import EmbeddedStore
from tests.retriever.conftest import EMBEDDER, Make, serving
from tests.retriever.library import fill
from tests.retriever.parts import KEY

QUERY = "harbour office tickets"


class Noting(reranker_pb2_grpc.RerankerServicer):
    """Prefers the last candidate; notes what it was sent, and says who failed before as it is told."""

    def __init__(self) -> None:
        self.sent: list[reranker_pb2.RerankRequest] = []
        self.scorer = "noting"
        self.failed: Sequence[str] = ()
        self.old = False

    async def Rerank(  # noqa: N802 - gRPC's name
        self, request: reranker_pb2.RerankRequest, context: object
    ) -> reranker_pb2.RerankResponse:
        self.sent.append(request)
        if request.scorer not in ("", "noting", "other"):
            raise InvalidRequest(f"No scorer {request.scorer!r} is loaded here.", field="scorer")
        count = len(request.candidates)
        order = range(count) if not self.scorer else reversed(range(count))
        return reranker_pb2.RerankResponse(
            scores=[
                reranker_pb2.RerankScore(
                    index=index,
                    score=(index + 1) / (count + 1),
                    raw=0.0 if self.old else 10.0 * index,
                    matches=[self.first_word(request, index)] if request.explain else [],
                )
                for index in order
            ],
            scorer=self.scorer and (request.scorer or self.scorer),
            degraded=self.failed,
        )

    def first_word(self, request: reranker_pb2.RerankRequest, index: int) -> reranker_pb2.Match:
        """The first word of the text below the heading matches the first of the query."""
        text = request.candidates[index].text
        start = text.index("\n") + 1
        end, query_end = text.index(" ", start), request.query.index(" ")
        return reranker_pb2.Match(start=start, end=end, query_start=0, query_end=query_end, similarity=0.5)


@pytest.fixture
async def noting() -> Noting:
    return Noting()


@pytest.fixture
async def client(stack: AsyncExitStack, make: Make, store: EmbeddedStore, noting: Noting) -> httpx.AsyncClient:
    """A retriever with a filled collection, whose reranker notes."""

    def add(server: object) -> Sequence[str]:
        reranker_pb2_grpc.add_RerankerServicer_to_server(noting, server)  # type: ignore[arg-type]
        return ["ragline.v1.Reranker"]

    await fill(store)
    search = make(scorer=await serving(stack, add), keeping=Keeping(open_cache("memory://"), 60))
    app = create_app("retriever", [api.router(search, Limits())], checks={})
    opened = httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://test")
    return await stack.enter_async_context(opened)


async def test_it_is_sent_all_that_the_search_knows(client: httpx.AsyncClient, noting: Noting, make: Make) -> None:
    hits = (await make()(Request(KEY, [QUERY], 3))).results[0].hits
    for _ in range(2):  # found, then kept
        await client.post("/retrieve", json={"query": QUERY, "top_k": 3, "rerank": True, "scorer": "other"})
        sent = noting.sent.pop()
        assert (sent.query, sent.scorer, sent.explain) == (QUERY, "other", False)
        assert sent.statistics.fingerprint == EMBEDDER.fingerprint
        assert sent.statistics.passages > 0
        for hit, candidate in zip(hits, sent.candidates, strict=False):
            passage = hit.passage
            assert candidate.text == embedded_text(passage.title, passage.section, passage.text)
            assert candidate.fused_score == pytest.approx(hit.fused.score)


async def test_explain_shows_scores_scorer_and_words(client: httpx.AsyncClient, noting: Noting) -> None:
    body = {"query": QUERY, "top_k": 2, "rerank": True, "explain": True}
    first = (await client.post("/retrieve", json=body)).json()["passages"][0]
    told = first["explain"]
    assert (told["scorer"], told["rerank_score"]) == ("noting", first["score"])
    assert told["rerank_raw"] == 10.0 * (len(noting.sent[0].candidates) - 1)
    (match,) = told["matches"]
    assert (match["query"], match["start"]) == ("harbour", 0)
    assert first["text"][match["start"] : match["end"]] == match["text"] == first["text"].split()[0]
    assert "the reranker's noting gave it" in told["why"]
    plain = (await client.post("/retrieve", json={"query": QUERY, "explain": True})).json()["passages"][0]
    said = plain["explain"]
    assert (said["scorer"], said["rerank_raw"], said["rerank_score"], said["matches"]) == (None, None, None, [])


async def test_a_scorer_that_stood_in_is_told_from_none(client: httpx.AsyncClient, noting: Noting) -> None:
    noting.failed = ["late", "later"]
    both = {"queries": [QUERY, "ferry"], "top_k": 2, "rerank": True}
    answer = (await client.post("/retrieve", json=both)).json()
    assert answer["degraded"] == ["rerank:late", "rerank:later"]
    assert len(noting.sent) == 2
    noting.scorer = ""
    answer = (await client.post("/retrieve", json={"query": QUERY, "rerank": True, "explain": True})).json()
    plain = (await client.post("/retrieve", json={"query": QUERY})).json()
    assert answer["degraded"] == ["rerank"]
    assert [each["score"] for each in answer["passages"]] == [each["score"] for each in plain["passages"]]
    assert answer["passages"][0]["explain"]["rerank_score"] is None


async def test_a_reranker_of_before_raw_scores_is_understood(client: httpx.AsyncClient, noting: Noting) -> None:
    noting.old = True
    body = {"query": QUERY, "rerank": True, "explain": True, "diversity": 0.3}
    passages = (await client.post("/retrieve", json=body)).json()["passages"]
    assert all(each["explain"]["rerank_raw"] == each["score"] > 0 for each in passages)
    assert passages[0]["score"] == max(each["score"] for each in passages)


@pytest.mark.parametrize(
    "wish", [{"rerank": True, "scorer": "nobody"}, {"rerank": True, "scorer": ""}, {"scorer": "other"}]
)
async def test_a_scorer_that_cannot_be_is_a_problem_of_the_field(
    client: httpx.AsyncClient, wish: dict[str, object]
) -> None:
    answer = await client.post("/retrieve", json={"query": QUERY, **wish})
    assert answer.status_code == 400
    assert answer.json()["errors"][0]["field"] == "scorer"
