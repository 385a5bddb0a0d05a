"""A generator whose LLM is a real server behind a proxy that fails, and what clients see: for tests and bench."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
from pydantic import SecretStr

from ragline.http import create_app
from services.generator import api, asking
from services.generator.accounting import Counted, Tenants
from services.generator.answer import Answerer
from services.generator.keeping import Answers
from services.generator.llms import Parts, openai
from services.generator.llms._endpoints import Place
from services.generator.llms.extractive import Extractive
from services.generator.room import Room
from services.generator.roster import Roster
from services.generator.sources import Sources, Timeouts
from services.generator.summaries.summarize import Limits, Summarizer
from tests.generator import world
from tests.servers.faults import NONE, Fault, FaultProxy
from tests.servers.llama import LlamaServer

# The model answers this in two sentences, of which the first is said after some 15 tokens and the second after 30.
QUESTION = {"query": "How is a lost message sent again?", "top_k": 1, "max_tokens": 60}
FIRST = "A lost message is sent again after a back-off of five seconds. [1]"
LIMITS = asking.Limits(query_chars=200, filter_chars=1000, top_k=20, answer_tokens=500)
# Tokens after which nothing has been said yet, and after which the first sentence has.
EARLY, LATE = 6, 24

# Before the first word, or the first sentence: nothing was shown, so any server may take over without a trace.
HIDDEN = (
    Fault("dropped"),
    Fault("busy", retry_after="60"),
    Fault("broken"),
    Fault("denied"),
    Fault("page"),
    Fault("garbage"),
    Fault("hang"),
    Fault("cut", EARLY),
    Fault("unfinished", EARLY),
    Fault("stalled", EARLY),
)
# After the first sentence.
SHOWN = (Fault("cut", LATE), Fault("unfinished", LATE), Fault("stalled", LATE))
# A machine may be busy, but not for so long between two tokens of a prompt that was seen before.
IMPATIENT_S = 12.0


@dataclass
class Seen:
    """What a client saw of one request. ``said`` is the text of a stream's tokens, or the whole answer."""

    status: int
    said: str = ""
    names: list[str] = field(default_factory=list)
    body: dict[str, Any] = field(default_factory=dict)

    @property
    def end(self) -> str:
        """How it ended: "answer", "error" in a stream, or the status of a problem."""
        if self.status != httpx.codes.OK:
            return str(self.status)
        return "answer" if not self.names or self.names[-1] == "done" else self.names[-1]

    @property
    def model(self) -> str:
        """Who wrote it."""
        return str(self.body.get("model", ""))

    @property
    def degraded(self) -> list[str]:
        """Who could not."""
        return list(self.body.get("degraded", ()))


@dataclass(frozen=True)
class Lineup:
    """What there is beside the server that fails: a second endpoint of the model, a second model."""

    second: bool = False
    spare: bool = False


ALONE = Lineup()


class Outage:
    """The REST door of a generator, and the proxy before its LLM."""

    def __init__(self, client: httpx.AsyncClient, proxy: FaultProxy, llm: openai.OpenAI) -> None:
        self.client = client
        self.proxy = proxy
        self.llm = llm

    def begin(self, fault: Fault) -> None:
        """From now on this goes wrong, and nothing has before: the endpoint is asked first."""
        self.proxy.fault = fault
        endpoint = self.llm.routes.endpoints[0]
        endpoint.breaker.passed()
        endpoint.resting_until = endpoint.closed_until = 0.0

    async def warm(self) -> Seen:
        """Have the question answered once, so that the server knows the prompt; be impatient from then on."""
        seen = await self.stream(NONE)
        self.llm.first_token_s = self.llm.idle_s = IMPATIENT_S
        return seen

    async def whole(self, fault: Fault, timeout_s: float = 60.0, **more: Any) -> Seen:
        """Ask for the whole answer."""
        self.begin(fault)
        sent = await self.client.post("/generate", json=QUESTION | more, headers=allowed(timeout_s))
        body = sent.json()
        return Seen(sent.status_code, body.get("answer", ""), [], body)

    async def stream(self, fault: Fault, timeout_s: float = 60.0, **more: Any) -> Seen:
        """Ask for it as it is written."""
        self.begin(fault)
        sent = await self.client.post(
            "/generate", json={**QUESTION, **more, "stream": True}, headers=allowed(timeout_s)
        )
        if sent.status_code != httpx.codes.OK:
            return Seen(sent.status_code, body=sent.json())
        events = parsed(sent.text)
        said = "".join(data["text"] for name, data in events if name == "token")
        return Seen(sent.status_code, said, [name for name, _ in events], events[-1][1])


def allowed(timeout_s: float) -> dict[str, str]:
    """The header that says how long a request may take."""
    return {"x-request-timeout-s": str(timeout_s)}


def parsed(text: str) -> list[tuple[str, dict[str, Any]]]:
    """The events of a stream, without heartbeats."""
    blocks = [block for block in text.split("\n\n") if block.startswith("event:")]
    split = [dict(line.split(": ", 1) for line in block.splitlines()) for block in blocks]
    return [(each["event"], json.loads(each["data"])) for each in split]


@asynccontextmanager
async def outage(server: LlamaServer, lineup: Lineup = ALONE, **options: Any) -> AsyncIterator[Outage]:
    """A generator over the small world of the tests; ``options`` are those of the LLM."""
    async with AsyncExitStack() as stack:
        proxy = await stack.enter_async_context(FaultProxy(server.url))
        retriever = await stack.enter_async_context(world.serving(world.Shelf().add))  # type: ignore[abstract]
        places = [Place(base_url=proxy.url, name="first")]
        if lineup.second:
            places.append(Place(base_url=server.url, name="second", priority=1, price_in=1.0, price_out=2.0))
        llms = {"smol": model(server, places, options)}
        if lineup.spare:
            llms["spare"] = model(server, [Place(base_url=server.url, name="spare")], {}, "spare")
        for llm in llms.values():
            stack.push_async_callback(llm.close)
        tenants = Tenants(10)
        named = {name: Counted(llm, tenants) for name, llm in llms.items()}
        roster = Roster({**named, "extractive": Extractive()}, list(llms), 60.0)
        transport = httpx.ASGITransport(create_app("generator", [router(retriever, roster)], checks={}))
        client = httpx.AsyncClient(transport=transport, base_url="http://generator", timeout=60)
        yield Outage(await stack.enter_async_context(client), proxy, llms["smol"])


def model(
    server: LlamaServer, places: Sequence[Place], options: dict[str, Any], name: str = "smol"
) -> openai.OpenAI:
    """SmolLM2 at some endpoints."""
    parts = Parts(Path, SecretStr(server.key), threads=1, timeout_s=60.0)
    return openai.load(parts, model=name, endpoints=list(places), **{"max_retries": 0, "context": 2048, **options})


def router(retriever: Any, roster: Roster) -> Any:
    """The routes of a generator without a cache or a reranker."""
    sources = Sources(retriever, None, Timeouts(30.0, 30.0))
    room = Room(16, "answers", "GENERATOR_MAX_WAITING")
    answerer = Answerer(sources, roster, Answers(None, 60.0, room), world.CHOICES)
    return api.router(answerer, Summarizer(sources, roster, room, Limits(20_000, 2)), LIMITS, max_documents=3)
