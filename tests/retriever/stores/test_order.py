"""The contract of every store about the order of writes: by number, whenever and how often they arrive."""

from __future__ import annotations

import asyncio

import pytest

from ragline.errors import Mismatch, NotFound
from services.retriever.stores import Content, Key, Store
from tests.retriever.parts import KEY, check, content

OTHER = Key("other", "elsewhere")


def doc(name: str, *texts: str, uri: str = "") -> Content:
    return content(name, texts, uri=uri)


async def put_file(store: Store, name: str, seq: int, **members: str) -> None:
    """Store a file of many as its worker does: each document, then what the file holds now."""
    for member, text in members.items():
        await store.upsert(KEY, doc(member, text, uri=f"file:///{name}{seq}"), seq=seq, container=name)
    await store.settle(KEY, name, list(members), seq=seq)


async def test_an_older_write_that_comes_later_changes_nothing(store: Store) -> None:
    await store.upsert(KEY, doc("a", "passage new"), seq=9)
    late = await store.upsert(KEY, doc("a", "passage old", uri="file:///late"), seq=8)
    assert (late.generation, late.changed, late.stale) == (1, False, True)
    assert store.view(KEY).generation == 1
    assert store.known_uris(["file:///late"]) == []
    check(store, {"a": ["passage new"]})


async def test_the_same_write_again_does_no_harm(store: Store) -> None:
    for changed in (True, False):
        done = await store.upsert(KEY, doc("a", "passage one", uri="file:///1"), seq=5)
        assert (done.generation, done.changed, done.stale, list(done.orphaned_uris)) == (1, changed, False, [])
    check(store, {"a": ["passage one"]})


async def test_no_number_means_after_everything(store: Store) -> None:
    reserved = await store.reserve(10)
    await store.upsert(KEY, doc("a", "passage one"), seq=reserved + 5)
    await store.upsert(KEY, doc("b", "passage one"), seq=reserved + 5_000_000)
    for text in ("passage two", "passage three"):
        done = await store.upsert(KEY, doc("a", text))
        assert (done.changed, done.stale) == (True, False)
    assert (await store.upsert(KEY, doc("a", "passage one"), seq=reserved + 6)).stale
    assert await store.reserve(1) > store.document(KEY, "a", brief=True).seq > reserved + 5_000_000
    assert (await store.delete(KEY, "a")).found
    check(store, {"b": ["passage one"]})


async def test_a_delete_counts_before_what_it_deletes_arrives(store: Store) -> None:
    for key in (KEY, OTHER):
        done = await store.delete(key, "a", seq=5)
        assert (done.generation, done.passages, done.found) == (0, 0, False)
        assert (await store.upsert(key, doc("a", "passage old"), seq=4)).stale
        assert (await store.upsert(key, doc("m", "passage old"), seq=4, container="a")).stale
        assert (await store.settle(key, "a", ["m"], seq=4)).stale
    check(store, {})
    with pytest.raises(NotFound, match="there are: default"):
        store.view(OTHER)
    assert not (await store.upsert(OTHER, doc("a", "passage new"), seq=6)).stale
    assert store.view(OTHER).passages == 1


async def test_a_delete_sent_again_says_what_it_said_at_first(store: Store) -> None:
    await store.upsert(KEY, doc("a", "passage one", "passage two"), seq=1)
    for _ in range(2):
        done = await store.delete(KEY, "a", seq=2)
        assert (done.generation, done.passages, done.found) == (2, 2, True)
        nothing = await store.delete(KEY, "b", seq=3)
        assert (nothing.passages, nothing.found) == (0, False)
    assert not (await store.delete(KEY, "a", seq=4)).found


async def test_a_delete_leaves_what_is_newer_and_says_that_something_is_there(store: Store) -> None:
    await store.upsert(KEY, doc("a", "passage new"), seq=7)
    await put_file(store, "f", 8, m="passage of f")
    for name in ("a", "f"):
        done = await store.delete(KEY, name, seq=6)
        assert (done.generation, done.passages, done.found) == (2, 0, True)
    check(store, {"a": ["passage new"], "m": ["passage of f"]})


async def test_a_file_of_many_goes_as_one(store: Store) -> None:
    await put_file(store, "f", 1, m1="passage one", m2="passage two")
    await store.upsert(KEY, doc("m2", "passage for itself"), seq=2)
    done = await store.delete(KEY, "f", seq=3)
    assert (done.passages, done.found, done.generation) == (1, True, store.view(KEY).generation)
    assert (list(done.orphaned_uris), list(done.removed_texts)) == (["file:///f1"], ["passage one"])
    assert (await store.upsert(KEY, doc("m3", "passage late"), seq=1, container="f")).stale
    check(store, {"m2": ["passage for itself"]})


async def test_settling_removes_what_the_file_no_longer_holds(store: Store) -> None:
    await store.upsert(KEY, doc("f", "passage single", uri="file:///f0"), seq=1)
    await put_file(store, "f", 2, m1="passage one", m2="passage two", m3="passage three")
    assert store.known_uris(["file:///f0", "file:///f2"]) == ["file:///f2"]
    await store.upsert(KEY, doc("m9", "passage nine"), seq=9, container="f")  # of a version yet to be settled
    before = store.view(KEY).generation
    for again in (False, True):
        for name in ("m1", "m4"):
            await store.upsert(KEY, doc(name, f"passage {name}", uri="file:///f3"), seq=3, container="f")
        done = await store.settle(KEY, "f", ["m1", "m4"], seq=3)
        assert (done.generation, done.stale) == (before + 3, False)
        assert list(done.orphaned_uris) == ([] if again else ["file:///f2"])
        assert sorted(done.removed_texts) == ([] if again else ["passage three", "passage two"])
    check(store, {"m1": ["passage m1"], "m4": ["passage m4"], "m9": ["passage nine"]})
    late = await store.settle(KEY, "f", [], seq=2)
    assert (late.stale, late.generation) == (True, before + 3)
    check(store, {"m1": ["passage m1"], "m4": ["passage m4"], "m9": ["passage nine"]})


async def test_a_document_may_have_the_id_of_its_file(store: Store) -> None:
    await put_file(store, "f", 1, f="passage one", m="passage two")
    check(store, {"f": ["passage one"], "m": ["passage two"]})
    await put_file(store, "f", 2, f="passage one", n="passage three")
    check(store, {"f": ["passage one"], "n": ["passage three"]})
    await put_file(store, "f", 3, n="passage three")
    check(store, {"n": ["passage three"]})


async def test_one_document_takes_the_place_of_a_file_of_many(store: Store) -> None:
    await put_file(store, "f", 1, m1="passage one", m2="passage two")
    done = await store.upsert(KEY, doc("f", "passage one", uri="file:///f2"), seq=2)
    assert (done.changed, list(done.orphaned_uris), done.generation) == (True, ["file:///f1"], 3)
    assert list(done.removed_texts) == ["passage two"], "the other is that of the new document"
    check(store, {"f": ["passage one"]})
    assert (await store.upsert(KEY, doc("m1", "passage one"), seq=1, container="f")).stale
    # The same document again, beside what an overtaken worker still stored for the version before the first.
    await store.upsert(KEY, doc("m4", "passage four"), seq=3, container="f")
    done = await store.upsert(KEY, doc("f", "passage one", uri="file:///f4"), seq=4)
    assert (done.changed, list(done.orphaned_uris), list(done.removed_texts)) == (
        True,
        ["file:///f2"],
        ["passage four"],
    )
    check(store, {"f": ["passage one"]})


async def test_what_a_removed_document_had_replaced_does_not_come_back(store: Store) -> None:
    await put_file(store, "f", 5, m="passage of f")
    await store.delete(KEY, "f", seq=6)
    assert (await store.upsert(KEY, doc("m", "passage older"), seq=4)).stale
    check(store, {})


async def test_the_same_content_again_is_stamped_and_moves(store: Store) -> None:
    await store.upsert(KEY, doc("a", "passage one", uri="file:///1"), seq=1)
    moved = await store.upsert(KEY, doc("a", "passage one", uri="file:///2"), seq=5, container="f")
    assert (moved.generation, moved.changed, list(moved.orphaned_uris)) == (1, False, ["file:///1"])
    assert store.document(KEY, "a", brief=True).seq == 5
    assert store.document(KEY, "a", brief=False).document.uri == "file:///2"
    assert (await store.upsert(KEY, doc("a", "passage old"), seq=4)).stale
    assert (await store.delete(KEY, "f", seq=6)).passages == 1


async def test_bytes_are_orphaned_by_the_last_document_of_all(store: Store) -> None:
    shared = "file:///shared"
    await store.upsert(KEY, doc("a", "passage one", uri=shared))
    await store.upsert(KEY, doc("b", "passage two", uri=shared))
    await store.upsert(OTHER, doc("a", "passage three", uri=shared))
    assert list((await store.delete(KEY, "a")).orphaned_uris) == []
    assert list((await store.upsert(KEY, doc("b", "passage four", uri=""))).orphaned_uris) == []
    assert store.known_uris([shared, "file:///never"]) == [shared]
    assert list((await store.delete(OTHER, "a")).orphaned_uris) == [shared]
    assert store.known_uris([shared]) == []


async def test_removed_texts_are_those_that_are_not_stored_again(store: Store) -> None:
    await store.upsert(KEY, content("a", ["passage one", "passage two"], title="T"))
    done = await store.upsert(KEY, content("a", ["passage two", "passage three"], title="T"))
    assert list(done.removed_texts) == ["T\npassage one"]
    done = await store.upsert(KEY, content("a", ["passage two"], title="U"))
    assert list(done.removed_texts) == ["T\npassage two", "T\npassage three"]


async def test_a_refused_write_leaves_no_number(store: Store) -> None:
    await store.upsert(KEY, doc("a", "passage one"), seq=1)
    with pytest.raises(Mismatch):
        await store.upsert(KEY, content("b", ["passage two"], fingerprint="other"), seq=9)
    assert not (await store.upsert(KEY, doc("b", "passage two"), seq=2)).stale


async def test_numbers_never_come_twice(store: Store) -> None:
    counts = [1 + n % 7 for n in range(300)]
    first = await asyncio.gather(*(store.reserve(count) for count in counts))
    taken = [at + i for at, count in zip(first, counts, strict=True) for i in range(count)]
    assert len(set(taken)) == len(taken) == sum(counts)
    assert await store.reserve(1) > max(taken)
    many = await store.reserve(1_000_000)
    assert await store.reserve(1) >= many + 1_000_000
