"""A small world for the generator: a retriever over a few passages and the real reranker, on real gRPC servers."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import grpc

from ragline import grpc_client
from ragline.cache import Cache
from ragline.errors import InvalidRequest, NotFound, Unavailable
from ragline.grpc_server import GrpcServer
from ragline.v1 import retriever_pb2, retriever_pb2_grpc
from ragline.v1.passage_pb2 import Passage
from services.generator.accounting import Counted, Tenants, counted
from services.generator.answer import Answerer, Choices
from services.generator.checks.evidence import Overlap
from services.generator.guarding import Chain
from services.generator.keeping import Answers
from services.generator.llms import LLM, Piece, Usage
from services.generator.llms.extractive import Extractive
from services.generator.prompt import Prompt, Style
from services.generator.room import Room
from services.generator.roster import Roster
from services.generator.sources import Sources, Timeouts
from services.generator.summaries.summarize import Limits, Summarizer
from services.reranker.__main__ import build as build_reranker
from services.reranker.settings import Settings as RerankerSettings

CHOICES = Choices(rerank_pool=50, evidence_sentences=16, prompt_tokens=1600, abstain_below=0.2)

# A source with what cleaning takes out: soft line breaks and double spaces. Offsets of the runs are kept.
BRELL_SOURCE = (
    "The town of Brell lies on the north\nshore of Lake Orvan. It has 4,200 inhabitants.  "
    "The mayor of Brell is Ada Lund[3]. Ferries do not run in winter."
)
KESTREL_SOURCE = (
    "The Kestrel router comes with a two-year warranty. The warranty covers the power supply. Hold the reset "
    "button for ten seconds to restore the factory settings."
)
QUEUE_SOURCE = (
    "A lost message is sent again after a back-off of five seconds. After three failures the message goes to "
    "the dead-letter queue. Dead letters can be listed and replayed."
)
MUSEUM_SOURCE = "The museum of Lake Orvan shows forty fishing boats. Entry costs 6 euros for adults."
SOURCES = {
    "brell": ("Brell", BRELL_SOURCE),
    "kestrel": ("Kestrel router", KESTREL_SOURCE),
    "queue": ("Message queue", QUEUE_SOURCE),
    "museum": ("Orvan museum", MUSEUM_SOURCE),
}


def cleaned(source: str) -> tuple[str, list[int]]:
    """White space runs as one space, with the verbatim runs' offsets."""
    text, offsets, at = "", [], 0
    while at < len(source):
        end = at
        while end < len(source) and not source[end].isspace():
            end += 1
        offsets += [len(text), at]
        while end < len(source) and source[end].isspace():
            end += 1
        text += source[at:end].rstrip() + (" " if source[end - 1].isspace() and end < len(source) else "")
        at = end
    return text, offsets


def passage(document: str, page: int = 0) -> Passage:
    """The one passage of a document."""
    title, source = SOURCES[document]
    text, offsets = cleaned(source)
    made = Passage(id=f"{document}#0", document_id=document, title=title, text=text, start=0, end=len(source))
    made.page = page
    made.metadata_json = json.dumps({"kind": document})
    if text != source:
        made.source = source
        made.offsets.extend(offsets)
    return made


@dataclass
class Shelf(retriever_pb2_grpc.RetrieverServicer):
    """Searches its passages by the share of the query's words; counts the searches."""

    passages: list[Passage] = field(default_factory=lambda: [passage(name) for name in SOURCES])
    generation: int = 7
    searches: int = 0

    async def Search(  # noqa: N802 - gRPC's name
        self, request: retriever_pb2.SearchRequest, context: grpc.aio.ServicerContext[Any, Any]
    ) -> retriever_pb2.SearchResponse:
        self.searches += 1
        if request.collection not in ("default", "empty"):
            raise NotFound(f"There is no collection {request.collection!r}; there are default and empty.")
        wanted = json.loads(request.filter_json or "{}")
        if set(wanted) - {"kind"}:
            raise InvalidRequest("filter knows no such key.", field=f"filter.{min(wanted)}")
        found = [] if request.collection == "empty" else self.matching(wanted)
        results = [self.ranked(query, found, request.top_k) for query in request.queries]
        return retriever_pb2.SearchResponse(results=results, generation=self.generation)

    def ranked(self, query: str, found: Sequence[Passage], top_k: int) -> retriever_pb2.SearchResult:
        result = retriever_pb2.SearchResult()
        overlap = Overlap(query, [p.text for p in found])
        scores = [overlap.share(p.title, p.text) for p in found]
        for score, each in sorted(zip(scores, found, strict=True), key=lambda pair: -pair[0])[:top_k]:
            result.hits.add(passage=each, score=score, sparse_score=score, sparse_rank=len(result.hits) + 1)
        return result

    def matching(self, wanted: dict[str, str]) -> list[Passage]:
        return [p for p in self.passages if all(json.loads(p.metadata_json)[k] == v for k, v in wanted.items())]

    async def GetDocument(  # noqa: N802 - gRPC's name
        self, request: retriever_pb2.GetDocumentRequest, context: grpc.aio.ServicerContext[Any, Any]
    ) -> retriever_pb2.GetDocumentResponse:
        for each in self.passages:
            if each.document_id == request.document_id:
                document = retriever_pb2.Document(id=each.document_id, source=each.source or each.text)
                return retriever_pb2.GetDocumentResponse(document=document, generation=self.generation)
        raise NotFound(f"There is no document {request.document_id!r}.")

    def add(self, server: grpc.aio.Server) -> Sequence[str]:
        retriever_pb2_grpc.add_RetrieverServicer_to_server(self, server)
        return ["ragline.v1.Retriever"]


class Reciter(Extractive):
    """Recites all the sentences it was shown, word by word, for as long as it is let; may fail midway."""

    name = "reciter"
    style: Style = "passages"

    def __init__(self, fails_after: int | None = None, pauses_after: int | None = None) -> None:
        super().__init__()
        self.pauses_after = pauses_after
        self.fails_after = fails_after
        self.go = asyncio.Event()
        self.go.set()
        self.calls = 0
        self.words = 0
        self.closed = asyncio.Event()

    async def generate(
        self, prompt: Prompt, *, max_tokens: int, temperature: float
    ) -> AsyncGenerator[Piece, None]:
        self.calls += 1
        try:
            for sentence in prompt.sentences:
                for word in sentence.text.split():
                    if self.words == self.pauses_after:
                        self.go.clear()
                    await self.go.wait()
                    if self.words == self.fails_after:
                        raise Unavailable("It went away.")
                    self.words += 1
                    yield Piece(f"{word} ")
            yield Piece(usage=Usage(10, self.words))
        finally:
            self.closed.set()


@asynccontextmanager
async def serving(add: Callable[[grpc.aio.Server], Sequence[str]]) -> AsyncIterator[grpc.aio.Channel]:
    """A real server on a free port, and a channel to it."""
    server = GrpcServer("127.0.0.1:0", add, max_message_mb=16, drain_s=0)
    port = await server.start()
    channel = grpc_client.channel(f"127.0.0.1:{port}", max_message_mb=16)
    yield channel
    await channel.close()
    await server.stop()


@asynccontextmanager
async def reranking(folder: Path, scorer: str = "overlap") -> AsyncIterator[grpc.aio.Channel]:
    """The real reranker."""
    service = await build_reranker(RerankerSettings(data_dir=folder, scorer=scorer, threads=2))
    await service.start()
    async with serving(service.add_rpc) as channel:
        yield channel
    await service.stop()


def answerer(
    retriever: grpc.aio.Channel,
    reranker: grpc.aio.Channel | None,
    *,
    llm: LLM | None = None,
    cache: Cache | None = None,
    choices: Choices = CHOICES,
    waiting: int = 16,
) -> Answerer:
    """The use case over the channels."""
    sources = Sources(retriever, reranker, Timeouts(5.0, 5.0))
    answers = Answers(cache, 60.0, Room(waiting, "answers", "GENERATOR_MAX_WAITING"))
    return Answerer(sources, roster(llm), answers, choices)


def roster(*llms: LLM | None, timeout_s: float = 60.0) -> Roster:
    """The LLMs by their names, counted as in production, each standing in for those before it."""
    counts = Tenants(100)
    named = {llm.name: llm if isinstance(llm, Counted) else counted(llm, counts) for llm in llms if llm}
    return Roster({**named, "extractive": Extractive()}, list(named) or ["extractive"], timeout_s)


def summarizer(
    retriever: grpc.aio.Channel, *, llm: LLM | None = None, max_chars: int = 200_000, guards: Chain | None = None
) -> Summarizer:
    """The use case over the channel."""
    sources = Sources(retriever, None, Timeouts(5.0, 5.0))
    room = Room(4, "summaries", "GENERATOR_MAX_WAITING")
    return Summarizer(sources, roster(llm), room, Limits(max_chars, 2), guards=guards)
