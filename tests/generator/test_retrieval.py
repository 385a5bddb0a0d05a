"""Answers from passages that a real retriever searched for as the caller wished; citations stay true."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import AsyncExitStack
from dataclasses import replace
from pathlib import Path
from typing import Any

import grpc
import httpx
import numpy as np
import pytest
import pytest_asyncio

import ragline.cache
from ragline import grpc_client
from ragline.errors import InvalidRequest, TimedOut
from ragline.http import create_app
from ragline.spans import embedded_text
from ragline.v1 import generator_pb2, generator_pb2_grpc, preprocess_pb2, preprocess_pb2_grpc
from ragline.v1.passage_pb2 import Passage
from ragline.v1.retriever_pb2 import MODE_SPARSE, Document, Hit, UpsertRequest
from services.generator import api, rpc
from services.generator.asking import Limits
from services.generator.checks.evidence import span, split
from services.generator.events import Done, Question, Retrieval
from services.generator.keeping import key_of
from services.generator.ranking import candidate
from services.generator.sources import Sources, Timeouts
from services.preprocess.cut import CutDocument, CutOptions, Cutter
from services.preprocess.embed import Embedding
from services.preprocess.limits import Limits as EmbedLimits
from services.preprocess.loaded import Loaded
from services.preprocess.rpc import PreprocessRpc
from services.preprocess.upsert import source_of
from services.retriever import limits, search
from services.retriever import rpc as retriever_rpc
from services.retriever.asking import Options
from services.retriever.clients import PreprocessClient, RerankerClient
from services.retriever.stores.embedded import EmbeddedStore
from tests.generator import world
from tests.retriever.conftest import EMBEDDER, serving
from tests.retriever.parts import KEY, open_store

LIMITS = Limits(query_chars=200, filter_chars=1000, top_k=20, answer_tokens=500)
RIVER = (
    "# The river Alm\n\n"
    + "\n\n".join(
        f"## Mile {n}\n\nAt mile {n} the  river is {n * 3} metres wide\nand {n + 1} boats lie there. "
        f"The keeper of lock {n} is called Name{n}. Fish number {n * 7} were counted in spring."
        for n in range(1, 9)
    )
    + "\n"
)


@pytest.fixture
def store(tmp_path: Path) -> EmbeddedStore:
    return open_store(tmp_path / "store")


@pytest_asyncio.fixture
async def retriever(store: EmbeddedStore) -> AsyncIterator[grpc.aio.Channel]:
    """A real retriever, which has its vectors from a real preprocess."""
    async with AsyncExitStack() as stack:
        stack.callback(store.close)
        embedding = Embedding(EMBEDDER, ragline.cache.open("memory://"))
        await embedding.start()
        stack.push_async_callback(embedding.close)

        def add(server: grpc.aio.Server) -> Sequence[str]:
            door = PreprocessRpc(Loaded(embedding), EmbedLimits())
            preprocess_pb2_grpc.add_PreprocessServicer_to_server(door, server)
            return [preprocess_pb2.DESCRIPTOR.services_by_name["Preprocess"].full_name]

        channel = grpc_client.channel(await serving(stack, add), max_message_mb=16)
        stack.push_async_callback(channel.close)
        pool = stack.enter_context(ThreadPoolExecutor(2))
        clients = PreprocessClient(channel, 10), RerankerClient(channel, 10)
        made = search.Search(store, *clients, pool, Options(threads=2, max_wait_s=0.2))
        address = await serving(stack, retriever_rpc.add(made, store, limits.Limits()))
        opened = grpc_client.channel(address, max_message_mb=16)
        stack.push_async_callback(opened.close)
        yield opened


async def put(store: EmbeddedStore, name: str, text: str) -> tuple[str, int]:
    """A document as preprocess would make it; its source and the first generation that holds it."""
    (made,) = Cutter(CutOptions(max_tokens=30, overlap_tokens=8)).cut(text.encode(), name=f"{name}.md")
    assert isinstance(made, CutDocument)
    embedded = EMBEDDER.embed([embedded_text(made.title, p.section, p.text) for p in made.passages])
    request = UpsertRequest(
        document=Document(id=name, title=made.title, source=made.source, metadata_json="{}"),
        passages=[
            Passage(
                section=p.section,
                text=p.text,
                start=p.start,
                end=p.end,
                source=source_of(made, p),
                offsets=p.offsets,
            )
            for p in made.passages
        ],
        vectors=np.ascontiguousarray(embedded.vectors, dtype="<f4").tobytes(),
        dimensions=EMBEDDER.dimensions,
        fingerprint=EMBEDDER.fingerprint,
        token_ids=[ids.astype("<u4").tobytes() for ids in embedded.token_ids],
    )
    done = await store.upsert(KEY, limits.Limits().content(request))
    return made.source, done.generation


def asked(query: str, **wishes: Any) -> Question:
    return Question("default", "default", query, 3, 200, retrieval=Retrieval(**wishes))


async def hits(retriever: grpc.aio.Channel, question: Question, top_k: int = 8) -> list[Hit]:
    found, _ = await Sources(retriever, None, Timeouts(10, 10)).search(question, top_k)
    return list(found.results[0].hits)


async def test_every_sentence_of_a_widened_passage_leads_to_the_source(
    store: EmbeddedStore, retriever: grpc.aio.Channel
) -> None:
    source, _ = await put(store, "river", RIVER)
    for neighbours in (1, 2, 5, 10):
        found = await hits(retriever, asked("Who is the keeper of lock 4?", neighbours=neighbours))
        assert any(hit.neighbours for hit in found)
        passages = [hit.passage for hit in found]
        shown = [name for hit in found for name in (hit.passage.id, *hit.neighbours)]
        assert len(shown) == len(set(shown))
        sentences = split(passages)
        assert sentences
        for sentence in sentences:
            start, end, quote = span(passages[sentence.passage], sentence.start, sentence.end)
            assert quote == source[start:end]
            assert quote.split() == sentence.text.split() or sentence.text.split()[0] == quote.split()[0]


async def test_the_reranker_sees_what_was_embedded(store: EmbeddedStore, retriever: grpc.aio.Channel) -> None:
    await put(store, "river", RIVER)
    plain = {hit.passage.id: candidate(hit).text for hit in await hits(retriever, asked("lock"), 100)}
    widened = await hits(retriever, asked("lock", neighbours=2), 100)
    assert any(hit.neighbours for hit in widened)
    for hit in widened:
        assert candidate(hit).text == plain[hit.passage.id]


@pytest.mark.parametrize("wishes", [{"neighbours": 2}, {"neighbours": 1, "diversity": 0.4, "collapse": True}])
async def test_an_answer_from_widened_passages_cites_true_spans(
    store: EmbeddedStore, retriever: grpc.aio.Channel, reranker: grpc.aio.Channel, wishes: dict[str, Any]
) -> None:
    source, _ = await put(store, "river", RIVER)
    for ranker in (reranker, None):
        done = await world.answerer(retriever, ranker).answer(asked("Who is the keeper of lock 4?", **wishes))
        assert isinstance(done, Done)
        assert "Name4" in done.outcome.answer
        assert done.outcome.citations
        for citation in done.outcome.citations:
            assert citation.quote == source[citation.start : citation.end]


async def test_who_waits_for_a_write_reads_it(store: EmbeddedStore, retriever: grpc.aio.Channel) -> None:
    _, generation = await put(store, "river", RIVER)
    done = await world.answerer(retriever, None).answer(asked("keeper of lock 4", wait_for=generation))
    assert done.generation >= generation
    with pytest.raises(TimedOut) as caught:
        await world.answerer(retriever, None).answer(asked("keeper", wait_for=generation + 1))
    assert caught.value.errors[0]["field"] == "wait_for"


async def test_what_was_waited_for_is_no_part_of_a_kept_answers_name(
    store: EmbeddedStore, retriever: grpc.aio.Channel
) -> None:
    await put(store, "river", RIVER)
    question = asked("keeper", neighbours=1)
    found, _ = await Sources(retriever, None, Timeouts(10, 10)).search(question, 3)
    waited = replace(question, retrieval=replace(question.retrieval, wait_for=1))
    assert key_of(question, found, "") == key_of(waited, found, "")
    other = replace(question, retrieval=replace(question.retrieval, mode="sparse"))
    assert key_of(question, found, "") != key_of(other, found, "")


@pytest_asyncio.fixture
async def client(retriever: grpc.aio.Channel) -> AsyncIterator[httpx.AsyncClient]:
    answerer, summarizer = world.answerer(retriever, None), world.summarizer(retriever)
    app = create_app("generator", [api.router(answerer, summarizer, LIMITS, max_documents=3)], checks={})
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://generator") as made:
        yield made


async def test_generate_takes_all_that_retrieve_takes(client: httpx.AsyncClient, store: EmbeddedStore) -> None:
    source, generation = await put(store, "river", RIVER)
    wishes = {"mode": "auto", "fusion": "weighted", "dense_weight": 0.4, "diversity": 0.2, "neighbours": 1}
    body = {"query": "Who is the keeper of lock 4?", "collapse": True, "wait_for": generation, "explain": True}
    answer = (await client.post("/generate", json=body | wishes)).json()
    assert answer["generation"] == generation
    for citation in answer["citations"]:
        assert citation["quote"] == source[citation["start"] : citation["end"]]
    assert any(passage.get("neighbours") for passage in answer["explain"]["passages"])


@pytest.mark.parametrize(
    ("wish", "field", "status"),
    [
        ({"mode": "best"}, "mode", 400),
        ({"fusion": "rrf", "dense_weight": 0.5}, "dense_weight", 400),
        ({"diversity": 2}, "diversity", 400),
        ({"neighbours": 11}, "neighbours", 400),
        ({"wait_for": 10**6}, "wait_for", 504),
    ],
)
async def test_a_bad_wish_is_a_problem_that_names_it(
    client: httpx.AsyncClient, store: EmbeddedStore, wish: dict[str, Any], field: str, status: int
) -> None:
    await put(store, "river", RIVER)
    answer = await client.post("/generate", json={"query": "keeper"} | wish)
    assert answer.status_code == status, answer.text
    assert answer.json()["errors"][0]["field"] == field


async def test_the_grpc_door_takes_them_too(store: EmbeddedStore, retriever: grpc.aio.Channel) -> None:
    _, generation = await put(store, "river", RIVER)
    async with world.serving(rpc.add(world.answerer(retriever, None), LIMITS)) as channel:
        stub = generator_pb2_grpc.GeneratorStub(channel)
        request = generator_pb2.AnswerRequest(
            tenant="default", query="keeper of lock 4", mode=MODE_SPARSE, neighbours=1, wait_for=generation
        )
        events = [event async for event in grpc_client.stream(stub.Answer, request, timeout_s=10)]
        assert events[-1].done.generation == generation
        request.neighbours = 99
        with pytest.raises(InvalidRequest) as caught:
            [event async for event in grpc_client.stream(stub.Answer, request, timeout_s=10)]
        assert caught.value.errors[0]["field"] == "neighbours"
