"""Another embedder's vectors beside those in use, and the switch: old or new, never both."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import pytest

from ragline.errors import InvalidRequest, Mismatch, NotFound, Overloaded
from services.retriever.stores import Key, Store, Vectorised
from services.retriever.stores.embedded import EmbeddedStore
from tests.retriever.parts import (
    FINGERPRINT,
    KEY,
    check,
    content,
    open_store,
    open_tiered,
    token_ids,
    vector,
    words_of,
)

OTHER, WIDE = "words-24", 24


def made(texts: Sequence[str], *, fingerprint: str = OTHER, dimensions: int = WIDE) -> Vectorised:
    """What another embedder makes of these passages."""
    vectors = np.array([vector(text, dimensions) for text in texts], dtype=np.float32)
    return Vectorised(
        fingerprint, vectors.reshape(len(texts), dimensions), [token_ids(f"{t} next") for t in texts]
    )


@pytest.fixture(params=[open_store, open_tiered])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Store]:
    """Stores that turn a collection to another embedder."""
    opened: Store = request.param(tmp_path / "store")
    yield opened
    opened.close()


async def stage(store: Store, name: str, *, key: Key = KEY, fingerprint: str = OTHER) -> bool:
    """Stage a document as it is now; says whether it was stale."""
    kept = store.document(key, name, brief=False)
    return await store.stage(key, name, kept.seq, made([p.text for p in kept.passages], fingerprint=fingerprint))


async def staged_all(store: Store, *, key: Key = KEY) -> None:
    """Stage what is missing until the collection has switched."""
    for _ in range(100):
        done = await store.switch(key, OTHER)
        if done.switched:
            return
        await asyncio.gather(*(stage(store, name, key=key) for name in done.missing))
    raise AssertionError("the switch never came")


def searched_by(store: Store, fingerprint: str, dimensions: int, texts: Sequence[str]) -> None:
    """Assert that each text is found by the vector that this embedder makes of it."""
    view = store.view(KEY)
    assert view.fingerprint == fingerprint
    for text in texts:
        found = view.dense(vector(text, dimensions)[None], 1, None)[0]
        assert [p.text for p in view.fetch(found.rows.tolist()).values()] == [text]
        assert float(found.scores[0]) == pytest.approx(1.0, abs=0.01)


async def test_a_switch_waits_for_every_passage_and_is_one_generation(store: Store) -> None:
    texts = {f"d{n}": [f"passage {i} of d{n}" for i in range(n)] for n in range(4)}  # d0 has none
    for name, passages in texts.items():
        await store.upsert(KEY, content(name, passages))
    flat = [text for passages in texts.values() for text in passages]
    first = await store.switch(KEY, OTHER)
    assert (first.switched, list(first.missing)) == (False, ["d1", "d2", "d3"])
    assert not await stage(store, "d1")
    assert not await stage(store, "d2")
    assert not await stage(store, "d2"), "again is no matter"
    assert list((await store.switch(KEY, OTHER)).missing) == ["d3"]
    searched_by(store, FINGERPRINT, 16, flat)
    await stage(store, "d3")
    before = store.view(KEY)
    done = await store.switch(KEY, OTHER)
    assert (done.switched, done.generation) == (True, before.generation + 1)
    searched_by(store, OTHER, WIDE, flat)
    assert sorted(words_of(store, "passage")) == sorted(flat)
    view = store.view(KEY)
    assert view.generation == done.generation
    ids = np.frombuffer(token_ids("next passage"), dtype="<u4").tolist()
    assert view.frequencies(ids) == [len(flat), len(flat)]
    assert before.fingerprint == FINGERPRINT
    assert len(before.dense(vector("x")[None], 10, None)[0]) == len(flat), "who began before ends as he began"
    again = await store.switch(KEY, OTHER)
    assert (again.switched, again.generation) == (True, done.generation)


async def test_what_changed_since_it_was_read_is_not_staged(store: Store) -> None:
    await store.upsert(KEY, content("a", ["passage one"]))
    await store.upsert(KEY, content("b", ["passage two", "passage three"]))
    seq = store.document(KEY, "a", brief=True).seq
    await store.upsert(KEY, content("a", ["passage four"]))
    assert await store.stage(KEY, "a", seq, made(["passage one"]))
    assert await store.stage(KEY, "never", 1, made(["passage one"]))
    assert not await stage(store, "a")
    assert not await stage(store, "b")
    await store.upsert(KEY, content("a", ["passage five"]))
    await store.delete(KEY, "b")
    assert list((await store.switch(KEY, OTHER)).missing) == ["a"], "an update takes its staged vectors away"
    await stage(store, "a")
    assert (await store.switch(KEY, OTHER)).switched
    searched_by(store, OTHER, WIDE, ["passage five"])
    assert store.view(KEY).passages == 1


async def test_what_cannot_be_staged_is_refused(store: Store) -> None:
    with pytest.raises(NotFound):
        await store.stage(KEY, "a", 1, made(["x"]))
    with pytest.raises(NotFound):
        await store.switch(KEY, OTHER)
    await store.upsert(KEY, content("a", ["passage one", "passage two"]))
    seq = store.document(KEY, "a", brief=True).seq
    with pytest.raises(InvalidRequest, match="has 2 passages"):
        await store.stage(KEY, "a", seq, made(["passage one"]))
    await store.stage(KEY, "a", seq, made(["passage one", "passage two"]))
    with pytest.raises(Mismatch, match="24 and of 8 dimensions"):
        await store.stage(KEY, "a", seq, made(["passage one", "passage two"], dimensions=8))


async def test_a_third_embedder_begins_anew(store: Store) -> None:
    for name in "ab":
        await store.upsert(KEY, content(name, [f"passage {name}"]))
        await stage(store, name)
    await stage(store, "a", fingerprint="third")
    assert list((await store.switch(KEY, "third")).missing) == ["b"]
    assert list((await store.switch(KEY, OTHER)).missing) == ["a", "b"]
    assert not await stage(store, "a", fingerprint=FINGERPRINT), "its vectors are there"
    assert list((await store.switch(KEY, "third")).missing) == ["b"]
    assert (await store.switch(KEY, FINGERPRINT)).switched, "nothing changes but that nothing is staged any more"
    assert list((await store.switch(KEY, "third")).missing) == ["a", "b"]
    searched_by(store, FINGERPRINT, 16, ["passage a", "passage b"])


async def test_after_the_switch_the_old_embedder_is_refused_and_named_the_new_one(store: Store) -> None:
    await store.upsert(KEY, content("a", ["passage one"]))
    await staged_all(store)
    with pytest.raises(Mismatch) as refusal:
        await store.upsert(KEY, content("b", ["passage two"]))
    assert refusal.value.wanted == OTHER
    await store.upsert(KEY, content("b", ["passage two"], fingerprint=OTHER, dimensions=WIDE))
    searched_by(store, OTHER, WIDE, ["passage one", "passage two"])


async def test_an_emptied_collection_forgets_what_was_staged(store: Store) -> None:
    await store.upsert(KEY, content("a", ["passage one"]))
    await stage(store, "a")
    await store.delete(KEY, "a")
    await store.upsert(KEY, content("b", ["passage two"], fingerprint="other", dimensions=8))
    assert list((await store.switch(KEY, OTHER)).missing) == ["b"]
    await staged_all(store)
    searched_by(store, OTHER, WIDE, ["passage two"])
    await store.delete(KEY, "b")
    assert (await store.switch(KEY, "words-8")).switched, "an empty collection has nothing to wait for"
    await store.upsert(KEY, content("c", ["passage three"], fingerprint="words-8", dimensions=8))
    searched_by(store, "words-8", 8, ["passage three"])


async def test_collections_switch_each_for_itself(store: Store) -> None:
    keys = [KEY, Key("other", "default"), Key("default", "second")]
    for key in keys:
        await store.upsert(key, content("a", ["passage one"]))
    await staged_all(store, key=keys[1])
    assert [store.view(key).fingerprint for key in keys] == [FINGERPRINT, OTHER, FINGERPRINT]


async def test_searches_and_writes_go_on_and_the_switch_is_reached(store: Store) -> None:
    """Writers never stop, faster than documents can be staged; no search mixes vectors of two embedders."""
    texts = {f"d{n}": f"passage of d{n}" for n in range(40)}
    await asyncio.gather(*(store.upsert(KEY, content(name, [text])) for name, text in texts.items()))
    over = asyncio.Event()

    async def search() -> None:
        while not over.is_set():
            view = store.view(KEY)
            width = {FINGERPRINT: 16, OTHER: WIDE}[view.fingerprint]
            found = (await asyncio.to_thread(view.dense, vector("passage of d7", width)[None], 3, None))[0]
            assert float(found.scores[0]) == pytest.approx(1.0, abs=0.01)
            assert view.cosines(vector("x", width), found.rows).shape == (3,)

    async def write(own: int) -> None:
        for n in itertools.count():
            if over.is_set():
                return
            new = content(f"w{own}", [f"passage {n} of w{own}"])
            if store.view(KEY).fingerprint == OTHER:
                new = content(f"w{own}", [f"passage {n}"], fingerprint=OTHER, dimensions=WIDE)
            try:
                await store.upsert(KEY, new)
            except (Overloaded, Mismatch):
                await asyncio.sleep(0.001)

    async with asyncio.TaskGroup() as group:
        for own in range(3):
            group.create_task(write(own))
        group.create_task(search())
        await staged_all(store)
        over.set()
    searched_by(store, OTHER, WIDE, ["passage of d7"])


async def test_what_is_staged_outlives_a_crash_and_so_does_the_switch(tmp_path: Path) -> None:
    store = open_store(tmp_path)
    for name in "abc":
        await store.upsert(KEY, content(name, [f"passage {name}"]))
    await stage(store, "a")
    await stage(store, "b")
    store = reopened(store, tmp_path)
    searched_by(store, FINGERPRINT, 16, ["passage a"])
    assert list((await store.switch(KEY, OTHER)).missing) == ["c"]
    await stage(store, "c")
    assert (await store.switch(KEY, OTHER)).switched
    store = reopened(store, tmp_path)
    searched_by(store, OTHER, WIDE, ["passage a", "passage b", "passage c"])
    left = store.reader.db.execute("SELECT count(*) FROM staged").fetchone()[0]
    assert left == 0
    store.close()


async def test_dead_rows_of_the_old_embedder_are_no_part_of_the_new_generation(tmp_path: Path) -> None:
    store = open_store(tmp_path)
    await store.upsert(KEY, content("a", ["passage one", "passage two"]))
    await store.upsert(KEY, content("b", ["passage three"]))
    reading = store.view(KEY)  # whoever is still here keeps the rows of what dies
    await store.delete(KEY, "a")
    await staged_all(store)
    searched_by(store, OTHER, WIDE, ["passage three"])
    assert len(reading.fetch([int(row) for row in reading.rows])) == 3
    store = reopened(store, tmp_path)
    searched_by(store, OTHER, WIDE, ["passage three"])
    store.close()


async def test_a_refused_disk_leaves_the_search_for_missing_documents_right(tmp_path: Path) -> None:
    store = open_store(tmp_path)
    for name in "ab":
        await store.upsert(KEY, content(name, [f"passage {name}"]))
    await stage(store, "a")
    await store.switch(KEY, OTHER)
    (collection,) = store.record.collections()
    store.staging.complete[collection.id] = 1 << 40  # as after a transaction that was undone
    assert list((await store.switch(KEY, OTHER)).missing) == ["b"]
    store.close()


async def test_without_a_switch_everything_is_as_if_nothing_was_staged(store: Store) -> None:
    await store.upsert(KEY, content("a", ["passage one"]))
    await stage(store, "a")
    check(store, {"a": ["passage one"]})


def reopened(store: EmbeddedStore, folder: Path) -> EmbeddedStore:
    """The store as after a kill: nothing was tidied up."""
    store.writer.healthy = False
    store.close()
    return open_store(folder)
