"""restore(backup(x)) == x, whatever x is and whatever is there: random histories, files of many and deletes."""

from __future__ import annotations

import random
from contextlib import AsyncExitStack
from pathlib import Path

import pytest

from ragline.cli.backup_file import Backup, Writing
from ragline.cli.replay import Choice, FromFile, FromRetriever, replay
from ragline.cli.retriever import Retriever
from ragline.grpc_client import channel
from ragline.v1 import retriever_pb2 as pb
from ragline.v1 import retriever_pb2_grpc
from services.retriever import rpc
from services.retriever.limits import Limits
from services.retriever.search import Search
from services.retriever.stores import Key, Scope
from services.retriever.stores.embedded import EmbeddedStore
from tests.retriever.conftest import serving
from tests.retriever.parts import KEY, content

NAMES = [f"d{n}" for n in range(6)] + ["ä", "漢字", "file", "file#0"]
MEMBERS = [f"file#{n}" for n in range(3)] + ["a-member", "zz"]  # before and after their file, by id


@pytest.fixture
async def retriever(stack: AsyncExitStack, store: EmbeddedStore, search: Search) -> Retriever:
    address = await serving(stack, rpc.add(search, store, Limits(max_page=3)))
    opened = await stack.enter_async_context(channel(address, max_message_mb=16))
    return Retriever(address, retriever_pb2_grpc.RetrieverStub(opened))


async def scramble(store: EmbeddedStore, dice: random.Random, key: Key = KEY) -> None:
    """Writes, deletes and files that are settled or not, some of them late."""
    late = await store.reserve(1)
    for _ in range(dice.randrange(1, 25)):
        name, member = dice.choice(NAMES), dice.choice(MEMBERS)
        texts = [f"passage {i} {dice.randrange(4)}" for i in range(dice.randrange(3))]
        match dice.randrange(5):
            case 0:
                await store.delete(key, name)
            case 1:
                await store.settle(key, "file", dice.sample(MEMBERS, 2))
            case 2:
                await store.upsert(key, content(member, texts, title=name), container="file")
            case 3:
                await store.upsert(key, content(name, texts, metadata='{"a":1.5}'), seq=dice.choice((0, late)))
            case _:
                await store.upsert(key, content(name, texts, content_hash=dice.choice(("", f"{texts}"))))


def held(store: EmbeddedStore, key: Key = KEY) -> list[pb.ExportedDocument]:
    """What a collection holds, without the numbers of its writes."""
    parts = list(store.export(Scope(key.tenant, key.collection)))
    documents = [part.document for part in parts if part.HasField("document")]
    for each in documents:
        each.seq = 0
    return documents


async def keep(retriever: Retriever, file: Path) -> FromFile:
    """A backup in a file."""
    with Writing(file, {}) as writing:
        async for part in retriever.export("", ""):
            writing.add(part)
    return FromFile(Backup(file))


@pytest.mark.parametrize("seed", range(12))
async def test_restore_brings_back_what_was_there(
    retriever: Retriever, store: EmbeddedStore, tmp_path: Path, seed: int
) -> None:
    dice = random.Random(seed)
    await scramble(store, dice)
    before = held(store)
    kept = await keep(retriever, tmp_path / "backup")
    await scramble(store, dice)
    done = await replay(kept, retriever, Choice(), lambda _: None)
    assert [each.differing for each in done] == [[]] * len(done)
    assert held(store) == before
    assert not any(
        each.written or each.deleted
        for each in await replay(kept, retriever, Choice(), lambda _: None)
        if all(document.document.content_hash for document in before)
    )
    other = Key("default", "other")
    await scramble(store, dice, other)
    await replay(kept, retriever, Choice(collection="default", into="other"), lambda _: None)
    assert held(store, other) == before
    assert list(store.verify(Scope(), mend=False)) == []


async def test_a_copy_goes_on_where_writes_go_on(retriever: Retriever, store: EmbeddedStore) -> None:
    await store.upsert(KEY, content("a", ["passage one"]))
    await replay(FromRetriever(retriever), retriever, Choice(collection="default", into="copy"), lambda _: None)
    copy = Key("default", "copy")
    await store.upsert(copy, content("a", ["passage two"]))
    assert (await store.delete(copy, "a")).found
    assert not (await store.upsert(KEY, content("a", ["passage one"]))).changed


async def test_what_differs_is_named(retriever: Retriever, store: EmbeddedStore, tmp_path: Path) -> None:
    for name in ("a", "b", "c"):
        await store.upsert(KEY, content(name, [f"passage {name}"]))
    kept = await keep(retriever, tmp_path / "backup")
    future = await store.reserve(1) + 10_000_000_000  # writes that any restore comes before
    await store.upsert(KEY, content("b", ["passage otherwise"]), seq=future)
    await store.upsert(KEY, content("d", ["passage new"]), seq=future)
    await store.delete(KEY, "a", seq=future)
    store.record.numbers.next = 1  # as if those had come while the restore ran
    done = await replay(kept, retriever, Choice(), lambda _: None)
    assert done[0].differing == [
        ("a", "is missing"),
        ("b", "holds something else"),
        ("d", "is not in what was read"),
    ]
