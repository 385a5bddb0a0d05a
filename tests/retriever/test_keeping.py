"""What searches found is kept by generation: the same again is quick, and nothing old is ever found."""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import Callable, Sequence
from contextlib import AsyncExitStack
from pathlib import Path

import pytest

import ragline.cache
from ragline import context
from ragline.cache import Cache
from ragline.errors import TimedOut, Unavailable
from services.retriever import filters
from services.retriever.asking import Embedded, Embedder, Request, Response
from services.retriever.keeping import Keeping
from services.retriever.limits import Limits
from services.retriever.search import Search
from services.retriever.stores import Key
from services.retriever.stores.embedded import EmbeddedStore
from tests.retriever.conftest import Make
from tests.retriever.library import LIBRARY, fill, request
from tests.retriever.parts import KEY, open_store
from tests.servers.redis import RedisServer

QUESTION = "How is a lost message retried?"


class Watched:
    """An embedder that notes what it is asked, fails as told, and waits while its gate is closed."""

    def __init__(self, embedder: Embedder) -> None:
        self.embedder = embedder
        self.asked: list[str] = []
        self.error: Exception | None = None
        self.gate = asyncio.Event()
        self.gate.set()
        self.entered = asyncio.Event()

    async def embed(self, texts: Sequence[str], fingerprint: str) -> Embedded:
        self.asked += texts
        self.entered.set()
        await self.gate.wait()
        if self.error is not None:
            raise self.error
        return await self.embedder.embed(texts, fingerprint)


@pytest.fixture
def url() -> str:
    return "memory://?max_mb=1"


@pytest.fixture
async def keeping(stack: AsyncExitStack, url: str) -> Keeping:
    cache = ragline.cache.open(url)
    stack.push_async_callback(cache.close)
    return Keeping(cache, 60)


@pytest.fixture
def watched(make: Make, keeping: Keeping) -> tuple[Search, Watched]:
    search = make(keeping=keeping)
    embedder = Watched(search.embedder)
    search.embedder = embedder
    return search, embedder


async def until(ready: Callable[[], bool]) -> None:
    async with asyncio.timeout(30):
        while True:
            if ready():
                return
            await asyncio.sleep(0.001)


def waiters(search: Search) -> int:
    """How many wait for the searches under way."""
    return sum(flight.waiters for flight in search.keeping.flights._flights.values())


def shown(found: Response, n: int = 0) -> list[tuple[object, ...]]:
    return [(hit.passage.id, hit.passage.text, hit.score, *hit.fused) for hit in found.results[n].hits]


async def test_the_same_again_is_exactly_the_same_and_not_searched(
    store: EmbeddedStore, watched: tuple[Search, Watched]
) -> None:
    search, embedder = watched
    await fill(store)
    for mode in ("hybrid", "dense", "sparse"):
        first = await search(Request(KEY, [QUESTION], 3, mode))
        embedder.asked.clear()
        again = await search(Request(KEY, [QUESTION], 3, mode))
        assert embedder.asked == []
        assert shown(again) == shown(first)
        assert again.results[0].statistics == first.results[0].statistics
        assert again.generation == first.generation
        assert set(again.timings_ms) == {"cache", "fetch", "total"}


async def test_vectors_are_asked_for_again(store: EmbeddedStore, watched: tuple[Search, Watched]) -> None:
    search, embedder = watched
    await fill(store)
    first = await search(Request(KEY, [QUESTION], 3, vectors=True))
    again = await search(Request(KEY, [QUESTION, "ferry"], 3, vectors=True))
    assert [one.vector is not None for one in again.results] == [True, True]
    assert (again.results[0].vector == first.results[0].vector).all()  # type: ignore[union-attr]
    embedder.error = Unavailable("gone")
    without = await search(Request(KEY, [QUESTION], 3, vectors=True))
    assert without.results[0].vector is None
    assert shown(without) == shown(first)


async def test_it_is_kept_in_redis_as_well(
    store: EmbeddedStore, make: Make, stack: AsyncExitStack, redis_server: RedisServer
) -> None:
    cache = ragline.cache.open(f"{redis_server.url}?prefix={uuid.uuid4().hex}:&timeout_s=10")
    stack.push_async_callback(cache.close)
    search = make(keeping=Keeping(cache, 60))
    await fill(store)
    first = await search(Request(KEY, [QUESTION], 3, rerank=True))
    again = await search(Request(KEY, [QUESTION], 3, rerank=True))
    assert shown(again) == shown(first)
    assert set(again.timings_ms) == {"cache", "fetch", "rerank", "total"}


async def test_each_query_of_a_batch_is_kept_by_itself(
    store: EmbeddedStore, watched: tuple[Search, Watched]
) -> None:
    search, embedder = watched
    await fill(store)
    queries = [f"ferry number {n}" for n in range(40)]
    first = await search(Request(KEY, queries[:30], 3))
    one = await search(Request(KEY, [queries[7]], 3))
    assert shown(one) == shown(first, 7)
    embedder.asked.clear()
    more = await search(Request(KEY, queries[::-1], 3))
    assert sorted(embedder.asked) == sorted(queries[30:])
    assert [shown(more, 39 - n) for n in range(30)] == [shown(first, n) for n in range(30)]
    assert all(len(result.hits) == 3 for result in more.results)


@pytest.mark.parametrize(
    "change",
    [
        lambda: Request(KEY, [QUESTION], 4),
        lambda: Request(KEY, [QUESTION + " "], 3),
        lambda: Request(KEY, [QUESTION], 3, "dense"),
        lambda: Request(KEY, [QUESTION], 3, filter=filters.checked({"n": 1}, max_terms=9)),
        lambda: Request(KEY, [QUESTION], 3, filter=filters.checked({"n": True}, max_terms=9)),
        lambda: Request(KEY, [QUESTION], 3, rerank=True),
        lambda: Request(Key("other", "default"), [QUESTION], 3),
        lambda: Request(Key("default", "other"), [QUESTION], 3),
    ],
)
async def test_whatever_is_asked_otherwise_is_searched(
    store: EmbeddedStore, watched: tuple[Search, Watched], change: Callable[[], Request]
) -> None:
    search, embedder = watched
    await fill(store)
    for n in range(len(LIBRARY) if change().key != KEY else 0):
        await store.upsert(change().key, Limits().content(request(f"only {n}", [f"A message {n}."], n=n)))
    assert store.view(KEY).generation == store.view(change().key).generation
    await search(Request(KEY, [QUESTION], 3))
    embedder.asked.clear()
    found = await search(change())
    assert embedder.asked == list(change().queries)
    if change().key != KEY:
        assert all(hit.passage.document_id.startswith("only ") for hit in found.results[0].hits)


async def test_a_write_makes_everything_kept_worthless(
    store: EmbeddedStore, watched: tuple[Search, Watched]
) -> None:
    search, _ = watched
    await fill(store)
    asked = Request(KEY, [QUESTION], 2)
    assert {row[1] for row in shown(await search(asked))} == set(LIBRARY["queues"])
    await store.upsert(KEY, Limits().content(request("queues", ["A lost message is retried never."])))
    assert shown(await search(asked))[0][1] == "A lost message is retried never."
    await store.delete(KEY, "queues")
    assert "queues" not in {hit.passage.document_id for hit in (await search(asked)).results[0].hits}


async def test_what_is_degraded_is_not_kept(store: EmbeddedStore, watched: tuple[Search, Watched]) -> None:
    search, embedder = watched
    await fill(store)
    embedder.error = Unavailable("away")
    assert (await search(Request(KEY, [QUESTION], 2))).degraded == ["dense"]
    embedder.error = None
    found = await search(Request(KEY, [QUESTION], 2))
    assert found.degraded == []
    assert found.results[0].statistics is not None
    embedder.error = Unavailable("away")
    assert (await search(Request(KEY, [QUESTION], 2))).degraded == []


async def test_a_hundred_equal_searches_at_once_are_one(
    store: EmbeddedStore, watched: tuple[Search, Watched]
) -> None:
    search, embedder = watched
    await fill(store)
    embedder.gate.clear()
    embedder.error = Unavailable("away")
    asked = Request(KEY, [QUESTION], 2)
    waiting = [asyncio.create_task(search(asked)) for _ in range(100)]
    await embedder.entered.wait()
    await until(lambda: waiters(search) == 100)
    waiting[0].cancel()
    embedder.gate.set()
    found = await asyncio.gather(*waiting, return_exceptions=True)
    assert isinstance(found[0], asyncio.CancelledError)
    rest = [one for one in found[1:] if isinstance(one, Response)]
    assert len(rest) == 99
    assert all(one.degraded == ["dense"] for one in rest)
    assert embedder.asked == [QUESTION]
    assert search.inflight == 0


async def test_who_has_more_time_than_the_first_searches_again(
    store: EmbeddedStore, watched: tuple[Search, Watched]
) -> None:
    search, embedder = watched
    await fill(store)
    embedder.gate.clear()
    embedder.error = TimedOut("the time of the first is over")
    asked = Request(KEY, [QUESTION], 2, "dense")
    with context.bind("first", timeout_s=60):
        first = asyncio.create_task(search(asked))
    await embedder.entered.wait()
    second = asyncio.create_task(search(asked))
    await until(lambda: waiters(search) == 2)
    embedder.entered.clear()
    embedder.gate.set()
    with pytest.raises(TimedOut):
        await first
    embedder.error = None
    assert len((await second).results[0].hits) == 2


async def test_what_an_earlier_process_kept_is_never_read(
    tmp_path: Path, make: Make, stack: AsyncExitStack, redis_server: RedisServer
) -> None:
    """Two histories of one record reach the same generation with different texts: as after a restored backup."""
    url = f"{redis_server.url}?prefix={uuid.uuid4().hex}:&timeout_s=10"
    found = []
    for text in ("The lost message is green.", "The lost message is blue."):
        store = open_store(tmp_path / text)
        stack.callback(store.close)
        cache: Cache = ragline.cache.open(url)
        stack.push_async_callback(cache.close)
        search = make(keeping=Keeping(cache, 60))
        search.store = store
        await store.upsert(KEY, Limits().content(request("message", [text])))
        found.append(await search(Request(KEY, [QUESTION], 1)))
    assert found[0].generation == found[1].generation
    assert [shown(one)[0][1] for one in found] == ["The lost message is green.", "The lost message is blue."]


async def test_searches_beside_writes_never_find_what_was_before(
    store: EmbeddedStore, make: Make, stack: AsyncExitStack, redis_server: RedisServer
) -> None:
    """Every answer is that of the generation it names, and no older than the last write acknowledged."""
    cache = ragline.cache.open(f"{redis_server.url}?prefix={uuid.uuid4().hex}:&timeout_s=10")
    stack.push_async_callback(cache.close)
    search = make(keeping=Keeping(cache, 60))
    texts = {(await put(store, 0)): text(0)}
    newest = max(texts)
    ending = asyncio.Event()

    async def write() -> None:
        nonlocal newest
        for version in range(1, 25):
            said = asyncio.create_task(put(store, version))
            texts[newest + 1] = text(version)
            newest = await said
            assert texts[newest] == text(version)
            await asyncio.sleep(0.002 * (version % 5))
        ending.set()

    async def read(reader: int) -> int:
        rounds = 0
        while not ending.is_set():
            known = newest
            found = await search(Request(KEY, [QUESTION, f"lost {rounds % 3} {reader % 2}"], 1))
            assert found.generation >= known
            for result in found.results:
                shown_texts = [hit.passage.text for hit in result.hits]
                assert shown_texts in ([texts[found.generation]], [])  # [] where it went while it was fetched
            rounds += 1
        return rounds

    *rounds, _ = await asyncio.gather(*(read(n) for n in range(6)), write())
    assert all(rounds)


def text(version: int) -> str:
    return f"A lost message of version {version} is retried."


async def put(store: EmbeddedStore, version: int) -> int:
    return (await store.upsert(KEY, Limits().content(request("message", [text(version)])))).generation
