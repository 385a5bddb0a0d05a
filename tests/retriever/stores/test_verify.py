"""Damages a store in every way that can be thought of: verify finds it, mends what can be, and harms nothing."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from ragline.v1.retriever_pb2 import Finding
from services.retriever.stores import Key, Scope
from services.retriever.stores.embedded import EmbeddedStore
from tests.retriever.harm import flip
from tests.retriever.parts import KEY, check, content, open_store, open_tiered

TEXTS = {f"d{n}": [f"passage {i} of document number {n}" for i in range(1 + n % 3)] for n in range(8)}
OTHER = Key("t2", "other")


@pytest.fixture(params=[open_store, open_tiered])
async def store(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[EmbeddedStore]:
    opened: EmbeddedStore = request.param(tmp_path)
    for name, texts in TEXTS.items():
        await opened.upsert(KEY, content(name, texts))
    await opened.upsert(KEY, content("gone", ["passage that goes"]))
    await opened.delete(KEY, "gone")
    await opened.upsert(OTHER, content("theirs", ["passage elsewhere"]))
    yield opened
    opened.close()


EVERYTHING = Scope()


def found(store: EmbeddedStore, scope: Scope = EVERYTHING, *, mend: bool = False) -> list[Finding]:
    return list(store.verify(scope, mend=mend))


def run(store: EmbeddedStore, *statements: str) -> None:
    """Change the record behind the store's back, between two of its transactions."""

    def step(_: object) -> tuple[None, None]:
        store.record.db.execute("PRAGMA foreign_keys = OFF")
        for statement in statements:
            store.record.db.execute(statement)
        return None, None

    store.writer.submit(step, 0).result()


async def test_a_store_that_was_well_used_is_well(store: EmbeddedStore) -> None:
    assert found(store) == []
    await asyncio.gather(*(store.upsert(KEY, content(f"d{n}", [f"passage anew {n}"])) for n in range(6)))
    assert found(store, mend=True) == []


async def test_verify_goes_on_while_others_write(store: EmbeddedStore) -> None:
    async def write(name: str) -> None:
        for n in range(6):
            await store.upsert(KEY, content(name, [f"passage {i} version {n}" for i in range(1 + n % 4)]))
            await store.delete(KEY, f"{name}-other")

    writers = asyncio.gather(*(write(f"w{n}") for n in range(3)))
    looks = 0
    while not writers.done() or looks < 2:
        assert await asyncio.to_thread(found, store) == []
        looks += 1
    await writers


def drop_slots(store: EmbeddedStore) -> None:
    held = store.held[KEY]
    live = held.current.live.copy()
    live[:2] = False
    held.publish(held.current.next(live=live, passages=int(live.sum())))


def swap_vectors(store: EmbeddedStore) -> None:
    held = store.held[KEY]
    snapshot = held.current
    vectors = snapshot.index.vectors(np.arange(len(snapshot.rows)))[::-1]
    held.publish(snapshot.next(index=held.dense.empty(snapshot.dimensions).added(vectors.copy())))


def miscount(store: EmbeddedStore) -> None:
    held = store.held[KEY]
    held.publish(held.current.next(counts=held.current.counts + 1))


def lose_words(store: EmbeddedStore) -> None:
    held = store.held[KEY]
    index = held.texts.index
    assert index is not None
    index.apply(held.current.rows[:3].tolist(), [])
    held.publish(held.current.next(searcher=index.searcher()))


def lose_the_index(store: EmbeddedStore) -> None:
    held = store.held[KEY]
    held.publish(held.current.next(searcher=None))


def damage_words_on_the_disk(store: EmbeddedStore) -> None:
    folder = store.held[KEY].texts.folder
    flip(max(folder.glob("*.pos"), key=lambda each: each.stat().st_size))


DERIVED: list[tuple[str, Callable[[EmbeddedStore], None]]] = [
    ("dense", drop_slots),
    ("dense", swap_vectors),
    ("statistics", miscount),
    ("sparse", lose_words),
    ("sparse", lose_the_index),
    ("sparse", damage_words_on_the_disk),
]


@pytest.mark.parametrize(("part", "damage"), DERIVED, ids=[damage.__name__ for _, damage in DERIVED])
async def test_what_is_derived_is_mended(
    store: EmbeddedStore, part: str, damage: Callable[[EmbeddedStore], None]
) -> None:
    generation = store.view(KEY).generation
    store.builder.close()  # or it might build what is damaged anew from the record, before anybody looks

    def step(_: object) -> tuple[None, None]:
        damage(store)
        return None, None

    store.writer.submit(step, 0).result()
    seen = found(store)
    assert {(each.tenant, each.collection, each.part) for each in seen} == {(*vars(KEY).values(), part)}
    assert not any(each.mended for each in seen)
    assert found(store, Scope("t2")) == []
    mended = found(store, mend=True)
    assert mended
    assert all(each.mended for each in mended)
    assert store.view(KEY).generation > generation, "a cache could still hold what the damaged index gave"
    assert found(store) == []
    check(store, TEXTS)
    await store.upsert(KEY, content("d1", ["passage after the mending"]))
    check(store, TEXTS | {"d1": ["passage after the mending"]})


ORPHANS = {
    "vectors are of no passage": "INSERT INTO vectors VALUES (900000, 1, x'00', x'')",
    "passages are of no document": (
        "INSERT INTO passages SELECT 900001, 900001, 0, section, text, begins, ends, page, source, offsets, "
        "page_starts FROM passages LIMIT 1"
    ),
    "texts are of no document": "INSERT INTO sources VALUES (900000, 'nobody')",
    "checkpoints are of no collection": "INSERT INTO checkpoints VALUES (900, 'x', 1)",
    "staged vectors are of no living passage": "INSERT INTO staged VALUES (900000, 1, x'00', x'')",
    "writes have numbers that could be given out": "INSERT INTO stamps VALUES ('t', 'c', 'n', 1 << 61, NULL, 0)",
}


@pytest.mark.parametrize("what", ORPHANS)
async def test_what_nothing_needs_is_removed(store: EmbeddedStore, what: str) -> None:
    run(store, ORPHANS[what])
    assert [(each.part, what in each.what) for each in found(store)][:1] == [("record", True)]
    assert all(each.mended for each in found(store, mend=True))
    assert found(store) == []
    check(store, TEXTS)


DAMAGED = {
    "lack passages": "DELETE FROM passages WHERE row = (SELECT min(row) FROM passages)",
    "lack vectors": "DELETE FROM vectors WHERE row = (SELECT min(row) FROM vectors)",
    "lack their text": "DELETE FROM sources WHERE document = (SELECT min(document) FROM sources)",
    "not of their collection's kind": "UPDATE vectors SET vector = x'00' WHERE row = 1",
    "metadata that is no JSON": "UPDATE documents SET metadata = '{' WHERE id = (SELECT min(id) FROM documents)",
}


@pytest.mark.parametrize("what", DAMAGED)
async def test_a_damaged_document_can_be_written_again_as_it_was(store: EmbeddedStore, what: str) -> None:
    run(store, DAMAGED[what])
    seen = found(store, mend=True)
    assert [(each.part, what in each.what, each.mended) for each in seen][:1] == [("record", True, False)]
    assert "ragline restore" in seen[0].what
    assert (await store.upsert(KEY, content("d0", TEXTS["d0"]))).changed
    found(store, mend=True)
    assert found(store) == []
    check(store, TEXTS)


async def test_files_of_no_collection_are_removed(store: EmbeddedStore) -> None:
    folder = store.file.parent
    for part in ("sparse/77", "sparse/77.new", "dense/78"):
        (folder / part).mkdir(parents=True)
        (folder / part / "file").write_bytes(b"x")
    assert [(each.part, each.what.partition(" ")[0], each.mended) for each in found(store)] == [
        ("sparse", "sparse/77", False),
        ("sparse", "sparse/77.new", False),
        ("dense", "dense/78", False),
    ]
    assert all(each.mended for each in found(store, mend=True))
    assert found(store) == []


async def test_damaged_files_of_vectors_are_written_anew(tmp_path: Path) -> None:
    store = open_tiered(tmp_path)
    for name, texts in TEXTS.items():
        await store.upsert(KEY, content(name, texts))
    assert store.builder.wait(60)
    flip(next(iter(store.held[KEY].files.folder.glob("*.faiss"))))
    assert [(each.part, each.mended) for each in found(store)] == [("dense", False)]
    assert [(each.part, each.mended) for each in found(store, mend=True)] == [("dense", True)]
    assert found(store) == []
    store.close()
    store = open_tiered(tmp_path)
    check(store, TEXTS)
    store.close()


async def test_a_damaged_file_is_a_finding_not_a_crash(store: EmbeddedStore) -> None:
    await asyncio.to_thread(store.compact, Scope())  # all of it is in the file now
    page = 4096
    with store.file.open("r+b") as file:
        for at in range(3 * page, store.file.stat().st_size, page):
            file.seek(at)
            file.write(b"\xff" * 64)
    seen = found(store)
    assert seen
    assert seen[0].part == "record"
    assert "ragline restore" in seen[0].what


async def test_compaction_gives_back_room_and_keeps_all(store: EmbeddedStore) -> None:
    for n in range(12):
        await store.upsert(KEY, replace(content(f"large{n}", [f"passage {n} " + "x" * 60_000])))
    for n in range(12):
        await store.delete(KEY, f"large{n}")
    before, after = await asyncio.to_thread(store.compact, Scope())
    assert after < before / 2
    assert found(store) == []
    check(store, TEXTS)
    again, _ = await asyncio.to_thread(store.compact, Scope())
    assert again < before / 2


async def test_compaction_goes_on_while_others_write(store: EmbeddedStore) -> None:
    async def write(name: str) -> None:
        for n in range(8):
            await store.upsert(KEY, content(name, [f"passage {name} version {n}"]))

    writers = asyncio.gather(*(write(f"w{n}") for n in range(3)))
    rounds = 0
    while not writers.done() or rounds < 2:
        await asyncio.to_thread(store.compact, Scope())
        rounds += 1
    await writers
    assert found(store) == []
    check(store, TEXTS | {f"w{n}": [f"passage w{n} version 7"] for n in range(3)})
