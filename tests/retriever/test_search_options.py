"""What a request may wish of a search: weights, variety, neighbours, no repeats, a generation to wait for."""

from __future__ import annotations

import asyncio
from contextlib import AsyncExitStack
from typing import Any

import httpx
import pytest

import ragline.cache
from ragline import context
from ragline.errors import NotFound, TimedOut
from ragline.http import create_app
from ragline.spans import to_source
from services.retriever import api
from services.retriever.asking import Request, Response
from services.retriever.keeping import Keeping
from services.retriever.limits import Limits
from services.retriever.search import Search
from services.retriever.stores import Key, View
from services.retriever.stores.embedded import EmbeddedStore
from tests.retriever.conftest import Make
from tests.retriever.library import LIBRARY, fill, request
from tests.retriever.parts import KEY

TALE = [
    "The keeper of the lighthouse wakes at dusk.",
    "He climbs two hundred steps with a can of oil.",
    "The lamp must burn until the sun comes up.",
    "At dawn he writes the weather into a book.",
    "Then the keeper sleeps until the afternoon.",
]


async def put(store: EmbeddedStore, name: str, texts: list[str]) -> int:
    """A document whose passages lie one after the other in its source."""
    made = request(name, texts)
    at = 0
    for passage in made.passages:
        passage.start, passage.end = at, at + len(passage.text)
        at = passage.end + 1
    return (await store.upsert(KEY, Limits().content(made))).generation


def ids(found: Response, n: int = 0) -> list[str]:
    return [hit.passage.id for hit in found.results[n].hits]


async def test_the_weight_moves_between_the_two_searches(store: EmbeddedStore, search: Search) -> None:
    await fill(store)
    query = "ferry tickets retried message sun"
    for weight, mode in ((1.0, "dense"), (0.0, "sparse")):
        weighed = await search(Request(KEY, [query], 3, dense_weight=weight))
        alone = await search(Request(KEY, [query], 3, mode))
        assert ids(weighed)[0] == ids(alone)[0]
        how = weighed.results[0].how
        assert how is not None
        assert (how.mode, how.method, how.dense_weight) == ("hybrid", "weighted", weight)
    by_ranks = await search(Request(KEY, [query], 3, fusion="rrf"))
    assert by_ranks.results[0].hits[0].score < 0.04  # the greatest is 2 / 61


async def test_auto_says_what_it_did(store: EmbeddedStore, search: Search) -> None:
    await fill(store)
    found = await search(Request(KEY, ["How is a lost message retried?", "zzz qqq"], 3, "auto"))
    modes = [result.how.mode for result in found.results if result.how]
    assert len(modes) == 2
    assert set(modes) <= {"hybrid", "dense", "sparse"}
    assert modes[1] == "dense"  # no word of it is there
    assert ids(found)[0] == "queues#0"


async def test_what_is_wished_otherwise_is_not_taken_from_the_cache(store: EmbeddedStore, make: Make) -> None:
    await fill(store)
    search = make(keeping=Keeping(ragline.cache.open("memory://"), 60))
    query = "ferry tickets retried message sun"
    wishes: list[dict[str, Any]] = [{}, {"dense_weight": 1.0}, {"fusion": "rrf"}, {"mode": "auto"}]
    wishes += [{"diversity": 0.9}, {"neighbours": 1}, {"collapse": True}]
    fresh = [await make()(Request(KEY, [query], 3, **each)) for each in wishes]
    for _ in range(2):
        kept = [await search(Request(KEY, [query], 3, **each)) for each in wishes]
        assert [ids(each) for each in kept] == [ids(each) for each in fresh]
        assert [each.results[0].how for each in kept] == [each.results[0].how for each in fresh]


async def test_repeats_are_named_by_the_best(store: EmbeddedStore, search: Search) -> None:
    await fill(store)
    await put(store, "copy", [LIBRARY["queues"][0].upper(), "Copies are kept for a year."])
    plain = await search(Request(KEY, ["lost message retried back-off"], 3))
    assert {"queues#0", "copy#0"} < set(ids(plain))
    found = await search(Request(KEY, ["lost message retried back-off"], 3, collapse=True))
    assert len(ids(found)) == 3
    shown = {hit.passage.id: hit.duplicates for hit in found.results[0].hits}
    assert (shown.get("queues#0"), shown.get("copy#0")) in [(("copy#0",), None), (None, ("queues#0",))]


@pytest.mark.parametrize("rerank", [False, True])
async def test_unlike_passages_are_chosen(store: EmbeddedStore, search: Search, rerank: bool) -> None:
    await fill(store)
    for n in range(3):
        await put(store, f"again{n}", [f"The ferry leaves the harbour at nine in the morning, version {n}."])
    close = await search(Request(KEY, ["ferry harbour morning"], 3, "dense", rerank=rerank))
    varied = await search(Request(KEY, ["ferry harbour morning"], 3, "dense", rerank=rerank, diversity=0.8))
    assert ids(close)[0] == ids(varied)[0]
    alike, unlike = ({hit.passage.text[:10] for hit in found.results[0].hits} for found in (close, varied))
    assert len(alike) < len(unlike)
    assert all(hit.diversity_score is not None for hit in varied.results[0].hits)
    assert all((hit.reranked is not None) == rerank for hit in varied.results[0].hits)


@pytest.mark.parametrize("rerank", [False, True])
async def test_neighbours_stand_around_the_hit(store: EmbeddedStore, search: Search, rerank: bool) -> None:
    await fill(store)
    await put(store, "tale", TALE)
    found = await search(Request(KEY, ["lamp burn until the sun comes up"], 1, neighbours=1, rerank=rerank))
    (hit,) = found.results[0].hits
    source = store.document(KEY, "tale", brief=False).document.source
    assert (hit.passage.id, hit.joined) == ("tale#2", ("tale#1", "tale#3"))
    assert hit.own is not None
    assert hit.passage.text[slice(*hit.own)] == TALE[2]
    assert (hit.passage.source or hit.passage.text) == source[hit.passage.start : hit.passage.end]
    for text in TALE[1:4]:
        at = hit.passage.text.index(text)
        assert source[to_source(hit.passage.offsets, hit.passage.start, at) :].startswith(text)


async def test_widened_hits_never_show_a_passage_twice(store: EmbeddedStore, search: Search) -> None:
    await fill(store)
    await put(store, "tale", TALE)
    found = await search(Request(KEY, ["keeper lamp dusk dawn sun"], 4, neighbours=1))
    shown = [name for hit in found.results[0].hits for name in (hit.passage.id, *hit.joined)]
    assert len(shown) == len(set(shown))
    assert len(found.results[0].hits) == 4


async def test_many_queries_are_shaped_each_for_itself(store: EmbeddedStore, search: Search) -> None:
    await fill(store)
    await put(store, "tale", TALE)
    queries = [f"{text} {n}" for text in TALE for n in range(10)]
    wishes: dict[str, Any] = {"neighbours": 1, "diversity": 0.3, "collapse": True}
    found = await search(Request(KEY, queries, 2, **wishes))
    for n in (0, 17, 49):
        alone = await search(Request(KEY, [queries[n]], 2, **wishes))
        assert ids(alone) == ids(found, n)
        assert [hit.joined for hit in alone.results[0].hits] == [hit.joined for hit in found.results[n].hits]


async def test_a_generation_is_waited_for(store: EmbeddedStore, search: Search) -> None:
    await fill(store)
    now = store.view(KEY).generation
    assert (await search(Request(KEY, ["ferry"], 1, wait_for=now))).generation == now
    waiting = asyncio.create_task(search(Request(KEY, ["lighthouse"], 1, wait_for=now + 1)))
    await asyncio.sleep(0)
    assert await put(store, "tale", TALE) == now + 1
    found = await waiting
    assert found.generation == now + 1
    assert ids(found)[0].startswith("tale#")


async def test_a_generation_that_does_not_come_is_a_problem_of_the_field(store: EmbeddedStore, make: Make) -> None:
    await fill(store)
    search = make(max_wait_s=0.05)
    with pytest.raises(TimedOut, match="did not come to 99") as caught:
        await search(Request(KEY, ["ferry"], 1, wait_for=99))
    assert caught.value.errors[0]["field"] == "wait_for"
    with context.bind("short", 0.2), pytest.raises(TimedOut) as caught:
        await make()(Request(KEY, ["ferry"], 1, wait_for=99))
    assert caught.value.errors[0]["field"] == "wait_for"
    with pytest.raises(NotFound):
        await search(Request(Key("default", "nowhere"), ["ferry"], 1, wait_for=1))
    assert search.inflight == 0


class Elsewhere:
    """The store as one on another machine would be: its views take a thread, and what is new a moment."""

    local = False

    def __init__(self, store: EmbeddedStore, late: int) -> None:
        self.store = store
        self.late = late

    def view(self, key: Key) -> View:
        with pytest.raises(RuntimeError, match="no running event loop"):
            asyncio.get_running_loop()
        self.late -= 1
        if self.late >= 0:
            raise NotFound("not yet")
        return self.store.view(key)


async def test_a_store_elsewhere_is_asked_in_a_thread(store: EmbeddedStore, search: Search) -> None:
    await fill(store)
    search.store = Elsewhere(store, 0)  # type: ignore[assignment]  # the part that a search uses
    assert ids(await search(Request(KEY, ["ferry"], 1)))[0].startswith("harbour#")
    search.store = Elsewhere(store, 3)  # type: ignore[assignment]
    assert ids(await search(Request(KEY, ["ferry"], 1, wait_for=1)))[0].startswith("harbour#")
    search.store = Elsewhere(store, 1)  # type: ignore[assignment]
    with pytest.raises(NotFound):
        await search(Request(KEY, ["ferry"], 1))


@pytest.fixture
async def client(stack: AsyncExitStack, make: Make) -> httpx.AsyncClient:
    app = create_app("retriever", [api.router(make(max_wait_s=0.05), Limits())], checks={})
    opened = httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://test")
    return await stack.enter_async_context(opened)


async def test_explain_tells_all(client: httpx.AsyncClient, store: EmbeddedStore) -> None:
    await fill(store)
    await put(store, "tale", TALE)
    await put(store, "copy", [TALE[2]])
    body = {"query": "lamp burn until sun", "top_k": 2, "rerank": True, "explain": True}
    wishes = {"collapse": True, "diversity": 0.2, "neighbours": 1, "dense_weight": 0.3}
    answer = (await client.post("/retrieve", json=body | wishes)).json()
    first = answer["passages"][0]
    told = first["explain"]
    assert (told["mode"], told["fusion"], told["dense_weight"]) == ("hybrid", "weighted", 0.3)
    assert 0 <= told["dense_normalised"] <= 1
    assert 0 <= told["sparse_normalised"] <= 1
    weighed = 0.3 * told["dense_normalised"] + 0.7 * told["sparse_normalised"]
    assert told["fused_score"] == pytest.approx(weighed, abs=1e-6)
    assert told["rerank_score"] == first["score"]
    assert told["duplicates"] == first["duplicates"]
    assert told["fused_rank"] >= 1
    assert told["why"].startswith("Place 1: maximal marginal relevance chose it with")
    assert "reranker" in told["why"]
    if told["neighbours"]:
        begin, end = first["own"]
        assert first["text"][begin:end] == TALE[2]


@pytest.mark.parametrize(
    ("wish", "field", "status"),
    [
        ({"mode": "best"}, "mode", 400),
        ({"fusion": "sum"}, "fusion", 400),
        ({"fusion": "rrf", "dense_weight": 0.5}, "dense_weight", 400),
        ({"dense_weight": 1.5}, "dense_weight", 400),
        ({"dense_weight": "much"}, "dense_weight", 400),
        ({"diversity": -0.1}, "diversity", 400),
        ({"neighbours": 11}, "neighbours", 400),
        ({"neighbours": 1.5}, "neighbours", 400),
        ({"collapse": "yes"}, "collapse", 400),
        ({"wait_for": -1}, "wait_for", 400),
        ({"wait_for": 2**63}, "wait_for", 400),
        ({"wait_for": 10**6}, "wait_for", 504),
    ],
)
async def test_a_bad_wish_is_a_problem_that_names_it(
    client: httpx.AsyncClient, store: EmbeddedStore, wish: dict[str, Any], field: str, status: int
) -> None:
    await fill(store)
    answer = await client.post("/retrieve", json={"query": "ferry"} | wish)
    assert answer.status_code == status
    assert answer.headers["content-type"] == "application/problem+json"
    assert answer.json()["errors"][0]["field"] == field
