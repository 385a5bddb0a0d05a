"""What only the store in Milvus does: replicas, Redis lost or away, Milvus away, leftovers, hostile names."""

from __future__ import annotations

import asyncio
import random
import uuid
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING

import grpc
import numpy as np
import pytest

from ragline.errors import InvalidRequest, RaglineError, TooLarge, Unavailable
from ragline.settings import SettingsError
from services.retriever import filters
from services.retriever.stores import Key, Scope
from tests.retriever.milvus import open_milvus
from tests.retriever.parts import KEY, check, content, nearest, open_store, vector, words_of
from tests.retriever.stores import writing
from tests.retriever.stores.moving import moved
from tests.retriever.stores.test_crash import Ledger, write_and_die
from tests.servers.milvus import MilvusServer
from tests.servers.redis import RedisServer, wait_until

if TYPE_CHECKING:
    from services.retriever.stores.milvus import MilvusStore

Open = Callable[[], "MilvusStore"]
KILLS = 4


@pytest.fixture
def redis(redis_installed: None, tmp_path: Path) -> Iterator[RedisServer]:
    """A Redis of the test's own, which it may flush, pause and kill."""
    with RedisServer(tmp_path / "redis") as server:
        yield server


@pytest.fixture
def replica(milvus_server: MilvusServer, redis: RedisServer) -> Iterator[Open]:
    """Opens stores over the same Milvus, Redis and name: replicas of one another."""
    name, opened = f"t{uuid.uuid4().hex[:12]}", []

    def open_one(**options: object) -> MilvusStore:
        opened.append(open_milvus(milvus_server.url, redis.url, name, **options))
        return opened[-1]

    yield open_one
    redis.resume()
    for store in opened:
        store.close()


async def fill(store: MilvusStore) -> None:
    """Three documents, one of them changed, and one deleted."""
    for name in ("a", "b", "c"):
        await store.upsert(KEY, content(name, [f"passage one of {name}", f"passage two of {name}"]))
    await store.upsert(KEY, content("b", ["passage other of b"]))
    await store.delete(KEY, "c")
    await store.upsert(EMPTIED, content("a", ["passage of another"]))
    await store.delete(EMPTIED, "a")


EMPTIED = Key("default", "emptied")
FILLED = {"a": ["passage one of a", "passage two of a"], "b": ["passage other of b"]}


async def test_what_one_replica_writes_the_other_finds_at_once(replica: Open) -> None:
    first, second = replica(), replica()
    for n in range(5):
        writer, reader = (first, second) if n % 2 else (second, first)
        done = await writer.upsert(KEY, content("a", [f"passage {n}"]))
        assert reader.view(KEY).generation == done.generation == n + 1
        check(reader, {"a": [f"passage {n}"]})
        assert await reader.reserve(1) > reader.document(KEY, "a", brief=True).seq
    await first.delete(KEY, "a")
    check(second, {})


async def test_replicas_that_write_the_same_documents_agree(replica: Open) -> None:
    stores = [replica(), replica()]
    numbers = [await stores[n % 2].reserve(1) for n in range(24)]
    writes = [
        stores[n % 2].upsert(KEY, content(f"d{n % 3}", [f"passage {n}"]), seq=number)
        for n, number in enumerate(numbers)
    ]
    done = await asyncio.gather(*random.Random(1).sample(writes, len(writes)))
    assert len({each.generation for each in done if each.changed}) > 1
    for store in stores:
        check(store, {f"d{n % 3}": [f"passage {n}"] for n in (21, 22, 23)})


@pytest.mark.parametrize("lost", ["all", "statistics"])
async def test_a_redis_that_lost_everything_is_told_anew(replica: Open, redis: RedisServer, lost: str) -> None:
    store = replica()
    late = await store.reserve(1)
    await fill(store)
    before = store.view(KEY)
    number = await store.reserve(1)
    if lost == "all":
        redis.flush()
        check(store, FILLED)
        assert store.view(KEY).epoch != before.epoch
        assert await store.reserve(1) > number
    else:
        redis.say(
            "DEL",
            *(f"ragline:{{{store.server.options.name}-store}}:{kind}:{store.view(KEY).place}" for kind in "fn"),
        )
        assert {each.part for each in store.verify(Scope(), mend=True)} == {"statistics"}
    assert store.view(KEY).generation >= before.generation
    check(replica(), FILLED)
    assert list(store.verify(Scope(), mend=False)) == []
    assert (await store.upsert(KEY, content("c", ["passage late"]), seq=late)).stale, "its delete is known"


async def test_what_a_dead_writer_left_counts_for_nothing_and_is_removed(replica: Open) -> None:
    store = replica()
    await fill(store)
    row = (store.loop.wait(store.rows(KEY, ["a"])))["a"]
    copies = store.loop.wait(store.server.rows(store.server.passages(16), row.rows, ["*"]))
    for n, copy in enumerate(copies):
        copy.pop("sparse", None)
        copies[n] = copy | {"id": 7 + n, "vector": np.array(copy["vector"], dtype=np.float32)}
    store.loop.wait(store.server.insert(store.server.passages(16), copies))
    old = store.loop.wait(store.server.query(store.server.documents, f"id == {row.version}", ["*"]))[0]
    store.loop.wait(store.server.insert(store.server.documents, [old | {"id": 5, "first": 7}]))
    check(store, FILLED)
    found = list(store.verify(Scope(), mend=False))
    assert [(each.part, each.count, each.mended) for each in found] == [("record", 1, False), ("record", 2, False)]
    assert all(each.mended for each in store.verify(Scope(KEY.tenant), mend=True))
    assert list(store.verify(Scope(), mend=False)) == []
    check(store, FILLED)


async def test_a_writer_whose_lease_ran_out_changes_nothing(replica: Open) -> None:
    first, second = replica(), replica()
    await fill(first)
    place = first.view(KEY).place
    lease = first.loop.wait(first.shared.acquire(place))
    assert lease is not None
    first.loop.wait(first.shared.begin(lease, 2, ["a"]))  # and then nothing is heard of it for long
    done = await second.upsert(KEY, content("d", ["passage of d"]))
    check(second, FILLED | {"d": ["passage of d"]})
    assert done.generation == second.view(KEY).generation
    with pytest.raises(Unavailable, match="took over"):
        first.loop.wait(first.shared.extend(lease))
    assert list(second.verify(Scope(), mend=False)) == []
    # What it would have written last, had it only been slow: a row of a version that was overtaken.
    row = first.loop.wait(first.rows(KEY, ["a"]))["a"]
    assert row.version > int(lease.state.generation)


async def test_a_deleted_document_is_not_found_by_a_view_from_before(replica: Open) -> None:
    store = replica()
    await fill(store)
    view = store.view(KEY)
    rows = view.sparse("passage", 10, None).rows
    await store.delete(KEY, "a")
    for ranking in (view.sparse("passage", 10, None), view.dense(vector("x")[None], 10, None)[0]):
        assert [each.document_id for each in view.fetch(ranking.rows.tolist()).values()] == ["b"]
    assert {each.document_id for each in view.fetch(rows.tolist()).values()} == {"b"}


HOSTILE = ['a" or id >= 0 or name_key == "', "a' or 1 == 1 --", '\\"', "x\ny", "{", "🦄", "%", "a" * 200]


async def test_no_text_of_a_caller_reaches_milvus_parser(replica: Open) -> None:
    store = replica()
    keys = [KEY, Key('other" or id >= 0 or place == "', "default"), Key("default", "second")]
    for n, key in enumerate(keys):
        for i, name in enumerate(HOSTILE):
            made = content(f"{name}{n}", [f"passage {i}"], title=name, uri=name)
            await store.upsert(key, made, container=f"{name}file")
    for n, key in enumerate(keys):
        view = store.view(key)
        assert [each.id for each in store.documents(key, 99, "")] == sorted(f"{name}{n}" for name in HOSTILE)
        for name in HOSTILE:
            for asked in ({"title": name}, {"document_id": f"{name}{n}"}, {"title": {"$gte": name, "$lte": name}}):
                allowed = view.allowed(filters.checked(asked))
                found = view.fetch(view.sparse("passage", 99, allowed).rows.tolist())
                assert [each.document_id for each in found.values()] == [f"{name}{n}"]
            nothing = view.allowed(filters.checked({filters.UNUSABLE.sub("", name) or "x": name}))
            assert len(nothing or ()) == 0
            view.sparse(f'"{name}" {name}', 9, None)
            assert len((await store.delete(key, f"{name}file")).removed_texts) == 1
        assert store.documents(key, 99, "") == []


async def test_an_order_that_leaves_too_many_is_refused(replica: Open, monkeypatch: pytest.MonkeyPatch) -> None:
    store = replica()
    for n in range(4):
        await store.upsert(KEY, content(f"d{n}", ["passage"], metadata=f'{{"n": {n}}}'))
    monkeypatch.setattr("services.retriever.stores._milvus_view.MOST_RESOLVED", 2)
    assert len(store.view(KEY).allowed(filters.checked({"n": {"$gt": 1}})) or ()) == 2
    with pytest.raises(InvalidRequest, match="leaves 3 documents"):
        store.view(KEY).allowed(filters.checked({"n": {"$gt": 0}}))


async def test_large_documents_come_back_whole_and_too_large_ones_alone_are_refused(replica: Open) -> None:
    store = replica()
    dice = random.Random(3)
    text = "".join(chr(dice.randrange(0x4E00, 0x9FFF)) for _ in range(90_000))
    long = content("long", ["passage"], metadata='{"m": "' + "é" * 30_000 + '"}')
    long.document.source = text
    results = await asyncio.gather(
        store.upsert(KEY, content("a", ["passage a"])),
        store.upsert(KEY, content("many", ["passage"], metadata=str(list(range(5000))).join(['{"n": ', "}"]))),
        store.upsert(KEY, content("wide", [text])),
        store.upsert(KEY, long),
        return_exceptions=True,
    )
    assert [type(each) if isinstance(each, RaglineError) else None for each in results] == [
        None,
        TooLarge,
        TooLarge,
        None,
    ]
    assert store.document(KEY, "long", brief=False).document == long.document
    assert [each.id for each in store.documents(KEY, 9, "")] == ["a", "long"]


async def test_everything_moves_to_another_store_and_back(replica: Open, tmp_path: Path) -> None:
    store, embedded = replica(), open_store(tmp_path / "embedded")
    await fill(store)
    await store.upsert(Key("other", "x"), content("e", [], dimensions=0, fingerprint=""), container="f")
    before = await moved(store, embedded)
    back = open_milvus(store.server.address.uri, tmp_redis(store), f"t{uuid.uuid4().hex[:12]}")
    assert await moved(embedded, back) == before
    assert await moved(back, embedded) == before
    check(back, FILLED)
    back.close()
    embedded.close()


def tmp_redis(store: MilvusStore) -> str:
    """The Redis of a store."""
    host, port = store.redis.address.hosts[0]
    return f"redis://{host}:{port}"


@pytest.mark.parametrize(
    ("code", "is_away"),
    [
        (2, True),
        (65535, True),
        (grpc.StatusCode.UNAVAILABLE, True),
        (grpc.StatusCode.DEADLINE_EXCEEDED, True),
        (grpc.StatusCode.INVALID_ARGUMENT, False),
        (1100, False),
    ],
)
def test_who_is_away_and_who_refuses(milvus_installed: None, code: int | grpc.StatusCode, is_away: bool) -> None:
    """The codes that pymilvus gives its errors: numbers of its own, Milvus' and gRPC's."""
    from pymilvus import MilvusException

    from services.retriever.stores._milvus_server import away

    assert away(MilvusException(code, "a message")) == is_away


async def test_milvus_away_is_said_at_once_and_it_comes_back(
    milvus_installed: None, redis: RedisServer, tmp_path: Path
) -> None:
    with (
        MilvusServer(tmp_path / "milvus") as milvus,
        closing(open_milvus(milvus.url, redis.url, "away", timeout_s=2.0)) as store,
    ):
        await fill(store)
        milvus.kill()
        for _ in range(3):
            with pytest.raises(Unavailable, match="Milvus"):
                nearest(store, "passage one of a")
            with pytest.raises(Unavailable, match="Milvus"):
                await store.upsert(KEY, content("d", ["passage"]))
            with pytest.raises(Unavailable, match="Milvus"):
                store.check()
        milvus.start()
        wait_until(lambda: healthy(store), "the store did not come back")
        check(store, FILLED)
        milvus.pause()
        with pytest.raises(Unavailable):
            nearest(store, "passage one of a")
        milvus.resume()
        wait_until(lambda: healthy(store), "the store did not come back")
        await store.upsert(KEY, content("d", ["passage of d"]))
        check(store, FILLED | {"d": ["passage of d"]})


async def test_without_redis_what_is_known_is_searched_and_nothing_is_written(
    replica: Open, redis: RedisServer
) -> None:
    store = replica()
    await fill(store)
    before = store.view(KEY)
    redis.kill()
    for text in FILLED["a"]:
        assert nearest(store, text)[0][0] == text
    assert len(words_of(store, "passage")) == 3
    view = store.view(KEY)
    assert view.generation == before.generation
    assert len({before.epoch, view.epoch, store.view(KEY).epoch}) == 3, (
        "no cache may keep what was found meanwhile"
    )
    assert view.frequencies([1, 2]) == [0, 0]
    for refused in (store.upsert(KEY, content("d", ["passage"])), store.delete(KEY, "a"), store.reserve(1)):
        with pytest.raises(Unavailable):
            await refused
    with pytest.raises(Unavailable):
        store.check()
    with pytest.raises(Unavailable):
        store.view(Key("default", "never"))
    redis.start()  # and it kept nothing
    wait_until(lambda: healthy(store), "the store did not come back")
    check(store, FILLED)


def healthy(store: MilvusStore) -> bool:
    """Whether it says that all is well."""
    try:
        store.check()
    except Unavailable:
        return False
    return True


def test_a_killed_writer_leaves_each_document_whole(replica: Open, redis: RedisServer) -> None:
    dice, ledger, store = random.Random(5), Ledger(), replica()
    where = [store.server.address.uri, redis.url, store.server.options.name]
    for _ in range(KILLS):
        write_and_die(ledger, where, dice.randrange(1, 12))
        ledger.settle(store)
        # A write makes the store see to what was cut off; its number comes after all that the dead one took.
        asyncio.run(store.delete(KEY, "never"))
        check(store, {name: writing.texts(name, version) for name, version in ledger.sure.items() if version})
        assert list(store.verify(Scope(), mend=False)) == []


@pytest.mark.parametrize(
    ("url", "state", "options", "says"),
    [
        ("", "redis://x", {}, "RETRIEVER_MILVUS_URL"),
        ("http://x:19530", "", {}, "RETRIEVER_STATE_URL"),
        ("tcp://me:secret@x", "redis://x", {}, "RETRIEVER_MILVUS_URL is 'tcp://…@x'"),
        ("http://x", "memory://", {}, "memory://"),
        ("http://x", "redis://x", {"color": "red"}, "color"),
        ("http://x", "redis://x", {"ef": "many"}, "ef"),
    ],
)
def test_settings_that_cannot_be_are_named(
    milvus_installed: None, url: str, state: str, options: dict[str, object], says: str
) -> None:
    from services.retriever.stores import milvus

    with pytest.raises(SettingsError, match=says):
        milvus.load(None, url=url, state_url=state, **options)  # type: ignore[arg-type]  # it has no use for its parts
