"""The contract of every store: what is written is found, and nothing else."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator

import numpy as np
import pytest

from ragline.errors import Mismatch, NotFound, RaglineError
from services.retriever import filters
from services.retriever.stores import Key, Store
from tests.retriever.parts import (
    FINGERPRINT,
    KEY,
    check,
    content,
    nearest,
    token_ids,
    vector,
    words_of,
)
from tests.retriever.stores.conftest import STORES


async def test_what_is_written_is_found_by_words_and_by_vector(store: Store) -> None:
    done = await store.upsert(KEY, content("a", ["passage about ships", "passage about trains"], title="Travel"))
    assert (done.generation, done.changed) == (1, True)
    assert words_of(store, "ships") == ["passage about ships"]
    assert nearest(store, "passage about trains")[0][0] == "passage about trains"
    view = store.view(KEY)
    assert (view.generation, view.passages, view.fingerprint) == (1, 2, FINGERPRINT)
    found = view.fetch(view.sparse("trains", 1, None).rows.tolist())
    (passage,) = found.values()
    assert (passage.id, passage.document_id, passage.title) == ("a#1", "a", "Travel")
    assert (passage.start, passage.end) == (20, 40)


async def test_an_update_replaces_everything(store: Store) -> None:
    await store.upsert(KEY, content("a", ["passage one", "passage two", "passage three"]))
    done = await store.upsert(KEY, content("a", ["passage four"]))
    assert (done.generation, done.changed) == (2, True)
    check(store, {"a": ["passage four"]})


async def test_the_same_content_again_changes_nothing(store: Store) -> None:
    first = await store.upsert(KEY, content("a", ["passage one"]))
    await store.upsert(KEY, content("b", ["passage two"]))
    again = await store.upsert(KEY, content("a", ["passage one"]))
    assert (again.generation, again.changed) == (first.generation, False)
    assert store.view(KEY).generation == 2


async def test_the_same_hash_with_other_metadata_or_title_is_a_change(store: Store) -> None:
    for metadata, title in (("{}", ""), ('{"lang":"en"}', ""), ('{"lang":"en"}', "T")):
        made = content("a", ["passage one"], content_hash="same", metadata=metadata, title=title)
        done = await store.upsert(KEY, made)
        assert done.changed
    assert store.document(KEY, "a", brief=True).document.title == "T"


async def test_a_document_without_a_hash_is_always_written(store: Store) -> None:
    for generation in (1, 2):
        done = await store.upsert(KEY, content("a", ["passage one"], content_hash=""))
        assert (done.generation, done.changed) == (generation, True)


async def test_a_deleted_document_is_gone_at_once(store: Store) -> None:
    await store.upsert(KEY, content("a", ["passage one", "passage two"], title="T"))
    await store.upsert(KEY, content("b", ["passage three"]))
    done = await store.delete(KEY, "a")
    assert (done.generation, done.passages, done.found) == (3, 2, True)
    assert done.orphaned_uris == ["file:///a"]
    assert done.removed_texts == ["T\npassage one", "T\npassage two"]
    check(store, {"b": ["passage three"]})
    with pytest.raises(NotFound, match="'a'"):
        store.document(KEY, "a", brief=False)
    again = await store.delete(KEY, "a")
    assert (again.generation, again.passages, again.found) == (3, 0, False)


async def test_an_empty_document_is_a_document(store: Store) -> None:
    await store.upsert(KEY, content("a", [], dimensions=0, fingerprint=""))
    check(store, {"a": []})
    await store.upsert(KEY, content("b", ["passage one"]))
    check(store, {"a": [], "b": ["passage one"]})
    await store.upsert(KEY, content("b", []))
    check(store, {"a": [], "b": []})


async def test_default_is_there_before_anything_is_written(store: Store) -> None:
    view = store.view(KEY)
    assert (view.generation, view.passages) == (0, 0)
    assert store.documents(KEY, 10, "") == []
    with pytest.raises(NotFound):
        store.document(KEY, "a", brief=True)


async def test_an_unknown_collection_names_the_known_ones_of_the_tenant(store: Store) -> None:
    await store.upsert(Key("default", "letters"), content("a", ["passage one"]))
    await store.upsert(Key("other", "secret"), content("a", ["passage one"]))
    with pytest.raises(NotFound, match="there are: default, letters") as caught:
        store.view(Key("default", "lettres"))
    assert "secret" not in caught.value.detail


async def test_collections_and_tenants_see_nothing_of_each_other(store: Store) -> None:
    keys = [KEY, Key("default", "second"), Key("other", "default")]
    for n, key in enumerate(keys):
        await store.upsert(key, content("same", [f"passage number{n}"]))
    for n, key in enumerate(keys):
        view = store.view(key)
        rows = view.sparse("passage", 10, None).rows.tolist()
        assert [p.text for p in view.fetch(rows).values()] == [f"passage number{n}"]
        assert len(view.dense(vector("x")[None], 10, None)[0]) == 1
        assert view.frequencies(np.frombuffer(token_ids("passage"), dtype="<u4").tolist()) == [1]
    await store.delete(keys[0], "same")
    assert [store.view(key).passages for key in keys] == [0, 1, 1]


async def test_another_embedder_is_refused_with_the_way_out(store: Store) -> None:
    await store.upsert(KEY, content("a", ["passage one"]))
    for other in (
        content("b", ["passage two"], fingerprint="other"),
        content("b", ["passage two"], dimensions=8),
    ):
        with pytest.raises(Mismatch, match="another collection"):
            await store.upsert(KEY, other)
    check(store, {"a": ["passage one"]})


async def test_an_emptied_collection_takes_another_embedder(store: Store) -> None:
    await store.upsert(KEY, content("a", ["passage one"]))
    await store.delete(KEY, "a")
    await store.upsert(KEY, content("b", ["passage two"], fingerprint="other", dimensions=8))
    view = store.view(KEY)
    assert (view.fingerprint, view.passages) == ("other", 1)
    assert len(view.dense(vector("passage two", 8)[None], 5, None)[0]) == 1


async def test_one_bad_write_fails_alone(store: Store) -> None:
    await store.upsert(KEY, content("a", ["passage one"]))
    results = await asyncio.gather(
        store.upsert(KEY, content("b", ["passage two"])),
        store.upsert(KEY, content("bad", ["passage x"], fingerprint="other")),
        store.upsert(KEY, content("c", ["passage three"])),
        store.delete(KEY, "a"),
        return_exceptions=True,
    )
    assert [isinstance(result, RaglineError) for result in results] == [False, True, False, False]
    check(store, {"b": ["passage two"], "c": ["passage three"]})


async def test_writes_to_one_document_at_once_end_in_order(store: Store) -> None:
    writes = [store.upsert(KEY, content("a", [f"passage {n}"])) for n in range(30)]
    await asyncio.gather(*writes, store.delete(KEY, "a"), store.upsert(KEY, content("a", ["passage last"])))
    check(store, {"a": ["passage last"]})


async def test_documents_come_in_pages_by_id(store: Store) -> None:
    for name in ("b", "a", "ä", "c"):
        await store.upsert(KEY, content(name, ["passage"], metadata='{"n":1}', title=name.upper()))
    page = store.documents(KEY, 2, "")
    assert [each.id for each in page] == ["a", "b"]
    assert (page[0].title, page[0].metadata_json, page[0].media_type) == ("A", '{"n":1}', "text/plain")
    assert [each.id for each in store.documents(KEY, 10, "b")] == ["c", "ä"]


async def test_a_brief_document_has_no_text(store: Store) -> None:
    await store.upsert(KEY, content("a", ["passage one"]))
    kept = store.document(KEY, "a", brief=True)
    assert (kept.document.id, kept.document.source, kept.passages) == ("a", "", [])
    assert kept.document.content_hash


async def test_a_view_stays_as_it_was(store: Store) -> None:
    if not store.local:
        pytest.skip("a server has no snapshots: a view of it is at least as new as it says")
    await store.upsert(KEY, content("a", ["passage old"], metadata='{"v":1}'))
    view = store.view(KEY)
    await store.upsert(KEY, content("a", ["passage new"], metadata='{"v":2}'))
    await store.delete(KEY, "a")
    rows = view.sparse("passage", 10, view.allowed(filters.parse('{"v":1}'))).rows.tolist()
    assert [passage.text for passage in view.fetch(rows).values()] == ["passage old"]
    assert store.view(KEY).passages == 0


METADATA = {
    "a": {"lang": "en", "year": 2020, "tags": ["x", "y"], "author": {"name": "Ada"}, "draft": True},
    "b": {"lang": "de", "year": 2022.5, "tags": [], "draft": False, "größe": "groß"},
    "c": {"lang": None, "year": "2021", "it's": "' OR 1=1 --"},
    "d": {"author.name": "Ada", "page.count": 7},
}


@pytest.fixture(scope="module", params=STORES)
def filtered(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Store]:
    """A store with the documents above, which the tests only read."""
    opened = STORES[request.param](request, tmp_path_factory.mktemp("store"))

    async def fill() -> None:
        for name, metadata in METADATA.items():
            text = json.dumps(metadata, ensure_ascii=False)
            await opened.upsert(KEY, content(name, [f"passage {name}"], metadata=text, title=f"Title {name}"))

    asyncio.run(fill())
    yield opened
    opened.close()


@pytest.mark.parametrize(
    ("filter_json", "names"),
    [
        ({"lang": "en"}, "a"),
        ({"lang": ["en", "de"]}, "ab"),
        ({"lang": None}, "c"),
        ({"lang": {"$ne": "en"}}, "bcd"),
        ({"lang": {"$nin": ["en", None]}}, "bd"),
        ({"lang": {"$exists": True}}, "abc"),
        ({"lang": {"$exists": False}}, "d"),
        ({"lang": []}, ""),
        ({"year": 2020}, "a"),
        ({"year": 2020.0}, "a"),
        ({"year": "2020"}, ""),
        ({"year": {"$gte": 2020, "$lt": 2022.5}}, "a"),
        ({"year": {"$gt": 2020}}, "b"),
        ({"year": {"$lte": "2021"}}, "c"),
        ({"draft": True}, "a"),
        ({"draft": 1}, ""),
        ({"draft": {"$in": [False]}}, "b"),
        ({"tags": "y"}, "a"),
        ({"tags": {"$exists": True}}, "ab"),
        ({"author.name": "Ada"}, "ad"),
        ({"author.name": {"$ne": "Ada"}}, "bc"),
        ({"page.count": {"$gt": 6}}, "d"),
        ({"author.name": {"$exists": True}}, "ad"),
        ({"author": "Ada"}, ""),
        ({"größe": "groß"}, "b"),
        ({"it's": "' OR 1=1 --"}, "c"),
        ({"x') OR 1=1 --": 1}, ""),
        ({"lang": "en' OR '1'='1"}, ""),
        ({"document_id": ["a", "d", 5]}, "ad"),
        ({"document_id": {"$gt": "b"}}, "cd"),
        ({"title": "Title b"}, "b"),
        ({"title": {"$exists": True}}, "abcd"),
        ({"$or": [{"lang": "en"}, {"document_id": "d"}]}, "ad"),
        ({"$and": [{"lang": ["en", "de"]}, {"year": {"$lt": 2021}}]}, "a"),
        ({"$not": {"lang": "en", "year": 2020}}, "bcd"),
        ({"$not": {"$or": [{"lang": "en"}, {"lang": "de"}]}}, "cd"),
    ],
)
def test_filters(filtered: Store, filter_json: object, names: str) -> None:
    view = filtered.view(KEY)
    for _ in range(2):  # the second time from what was kept
        allowed = view.allowed(filters.checked(filter_json))
        assert allowed is not None
        assert len(allowed) == len(names)
        for ranking in (view.sparse("passage", 10, allowed), view.dense(vector("q")[None], 10, allowed)[0]):
            found = view.fetch(ranking.rows.tolist())
            assert sorted(p.document_id for p in found.values()) == sorted(names)


async def test_a_true_is_not_a_one_even_when_kept(store: Store) -> None:
    await store.upsert(KEY, content("a", ["passage"], metadata='{"n":1}'))
    await store.upsert(KEY, content("b", ["passage"], metadata='{"n":true}'))
    view = store.view(KEY)
    for value in (1, True, 1.0):
        allowed = view.allowed(filters.checked({"n": value}))
        found = view.fetch(view.sparse("passage", 5, allowed).rows.tolist())
        assert [p.document_id for p in found.values()] == ["b" if value is True else "a"]


async def test_filters_that_allow_many_still_fill_the_list(store: Store) -> None:
    texts = [f"passage {'rare ' * (n % 7)}{n}" for n in range(1200)]
    for start in range(0, 1200, 300):
        made = content(f"d{start}", texts[start : start + 300], metadata=json.dumps({"part": start // 300}))
        await store.upsert(KEY, made)
    view = store.view(KEY)
    for part in ([0], [1], [0, 3], [0, 1, 2, 3]):
        allowed = view.allowed(filters.checked({"part": part}))
        for depth in (1, 100, 5000):
            expected = min(depth, 300 * len(part))
            assert len(view.sparse("passage", depth, allowed)) == expected
            assert len(view.dense(vector("q")[None], depth, allowed)[0]) == expected
