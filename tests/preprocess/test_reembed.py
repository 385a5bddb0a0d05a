"""A collection gets another embedder while it is read and written; what stands in the way is said."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest

from ragline.broker import Unfinished
from ragline.errors import Mismatch
from ragline.spans import embedded_text
from ragline.v1 import retriever_pb2 as pb
from services.preprocess.embed import keys_of
from services.preprocess.hold import Hold
from services.preprocess.jobs import Work
from tests.preprocess.world import World, world

OLD, NEW = "hashing-1-256", "hashing-1-64"
BOTH: dict[str, Any] = {"next_embedder": "hashing", "next_embedder_options": {"dimensions": 64}}
TEXTS = [(f"d{n:02}", f"# Part\n\nThe text of document {n}.") for n in range(20)]
AT_ONCE = 1e-6


@pytest.fixture
async def filled(tmp_path: Path, address: str) -> str:
    """A retriever whose collection the old embedder has filled."""
    async with world(tmp_path / "p", address) as here:
        await here.worker.start()
        assert (await here.ended(await here.send(*TEXTS)))["failed"] == 0
    return address


async def state(here: World, name: str = "default") -> dict[str, Any]:
    answer = await here.client.get(f"/collections/{name}")
    assert answer.status_code == 200, answer.text
    return dict(answer.json())


async def begun(here: World, name: str = "default") -> str:
    """The id of a new job."""
    answer = await here.client.post(f"/collections/{name}/reembed")
    assert answer.status_code == 202, answer.text
    assert answer.headers["location"] == f"/jobs/{answer.json()['job_id']}"
    return str(answer.json()["job_id"])


def work_of(here: World, job_id: str) -> Work:
    return here.published[job_id, 0]


async def test_a_collection_is_embedded_again_and_what_comes_meanwhile_too(tmp_path: Path, filled: str) -> None:
    async with world(tmp_path / "p", filled, **BOTH) as here:
        before = await state(here)
        assert (before["embedder"], before["change"], before["staged"]) == (OLD, "due", 0)
        await here.worker.start()
        job_id = await begun(here)
        sent = await here.send(("new", "What came meanwhile."), TEXTS[3])
        assert (await here.ended(job_id))["state"] == "done"
        assert (await here.ended(sent))["failed"] == 0
        after = await state(here)
        assert (after["embedder"], after["change"], after["documents"]) == (NEW, "none", 21)
        assert after["next_embedder"] is None
        job = await here.ended(await here.send(("later", "What came after the switch.")))
        assert (job["state"], job["failed"]) == ("done", 0)
        assert (await state(here))["embedder"] == NEW
        nothing = await here.client.post("/collections/default/reembed")
        assert (nothing.status_code, nothing.json()["job_id"]) == (200, None)
        vectors = await stored(here, "later")
        assert (vectors.fingerprint, vectors.dimensions) == (NEW, 64)
        assert vectors.vectors == expected(here, NEW, vectors)


async def test_after_the_change_either_order_of_restarts_serves(tmp_path: Path, filled: str) -> None:
    """The new one first and the old one gone, or still there as the next: a collection names its own."""
    async with world(tmp_path / "p", filled, **BOTH) as here:
        await here.worker.start()
        assert (await here.ended(await begun(here)))["state"] == "done"
    turned: dict[str, Any] = {"embedder_options": {"dimensions": 64}}
    old_too: dict[str, Any] = {"next_embedder": "hashing", "next_embedder_options": {"dimensions": 256}}
    for n, changes in enumerate((turned, {**turned, **old_too}, BOTH)):
        async with world(tmp_path / "p", filled, **changes) as here:
            await here.worker.start()
            job = await here.ended(await here.send((f"then{n}", f"Written in the order {n}.")))
            assert (job["state"], job["failed"]) == ("done", 0)
            assert (await state(here))["embedder"] == NEW


async def test_a_job_goes_on_in_slices_and_after_a_crash(tmp_path: Path, filled: str) -> None:
    async with world(tmp_path / "p", filled, **BOTH) as here:
        job_id = await begun(here)
        here.worker.reembedding.concurrency = 1
        for slice_number in range(1, 4):
            with pytest.raises(Unfinished):
                await here.worker.reembedding.run(work_of(here, job_id), Hold(AT_ONCE))
            assert (await state(here))["staged"] == slice_number
        work = work_of(here, job_id)
    async with world(tmp_path / "another", filled, **BOTH) as here:  # the record of the job is lost, too
        assert (await state(here))["change"] == "begun"
        await here.worker.reembedding.run(work, Hold(600))
        assert (await state(here))["embedder"] == NEW
        await here.worker.reembedding.run(work, Hold(600))
        assert (await here.ended(job_id))["state"] == "done"


async def test_the_worker_takes_slices_until_all_is_done(tmp_path: Path, filled: str) -> None:
    async with world(tmp_path / "p", filled, hold_s=AT_ONCE, **BOTH) as here:
        await here.worker.start()
        assert (await here.ended(await begun(here)))["state"] == "done"
        assert (await state(here))["embedder"] == NEW


async def test_a_cancelled_job_leaves_the_collection_as_it_was(tmp_path: Path, filled: str) -> None:
    async with world(tmp_path / "p", filled, **BOTH) as here:
        job_id = await begun(here)
        here.worker.reembedding.concurrency = 1
        with pytest.raises(Unfinished):
            await here.worker.reembedding.run(work_of(here, job_id), Hold(AT_ONCE))
        await here.client.delete(f"/jobs/{job_id}")
        await here.worker.reembedding.run(work_of(here, job_id), Hold(600))
        assert (await here.ended(job_id))["state"] == "cancelled"
        after = await state(here)
        assert (after["embedder"], after["staged"], after["change"]) == (OLD, 0, "due")
        await here.worker.start()
        assert (await here.ended(await begun(here)))["state"] == "done"


async def test_what_cannot_begin_is_said(tmp_path: Path, filled: str) -> None:
    async with world(tmp_path / "one", filled) as here:
        answer = await here.client.post("/collections/default/reembed")
        assert answer.status_code == 412
        assert "PREPROCESS_NEXT_EMBEDDER" in answer.json()["detail"]
        assert (await here.client.get("/collections")).json()["next_embedder"] is None
    async with world(tmp_path / "two", filled, **BOTH) as here:
        assert (await here.client.post("/collections/none/reembed")).status_code == 404
        assert (await here.client.get("/collections/none")).status_code == 404
        await begun(here)
        second = await here.client.post("/collections/default/reembed")
        assert (second.status_code, second.headers["content-type"]) == (409, "application/problem+json")
        listed = (await here.client.get("/collections")).json()
        assert [each["collection"] for each in listed["collections"]] == ["default"]
        assert (listed["embedder"]["fingerprint"], listed["next_embedder"]["fingerprint"]) == (OLD, NEW)


async def test_a_worker_without_the_next_embedder_parks_the_job(tmp_path: Path, filled: str) -> None:
    async with world(tmp_path / "door", filled, **BOTH) as here:
        job_id = await begun(here)
        work = work_of(here, job_id)
        async with world(tmp_path / "worker", filled) as other:
            with pytest.raises(Mismatch, match="PREPROCESS_NEXT_EMBEDDER"):
                await other.worker.reembedding.run(work, Hold(600))


async def test_a_document_for_an_embedder_that_is_not_loaded_is_parked_with_the_ways_out(
    tmp_path: Path, filled: str
) -> None:
    """Somebody started with another model by accident: nothing is written, nothing is lost."""
    turned: dict[str, Any] = {"embedder_options": {"dimensions": 64}}
    async with world(tmp_path / "p", filled, **turned) as here:
        await here.worker.start()
        job = await here.ended(await here.send(("new", "A text.")))
        assert job["state"] == "failed"
        for way in (OLD, "PREPROCESS_EMBEDDER", "PREPROCESS_NEXT_EMBEDDER", "ragline reembed", "queue replay"):
            assert way in job["errors"][0]["reason"]
        letters = await here.opened.broker.dead_letters("ingest")
        assert [letter.attempts for letter in letters] == [1]
        # The way on: the old one is gone, so that the first embedder is what the collection is to have.
        assert (await state(here))["change"] == "due"
        assert (await here.ended(await begun(here)))["state"] == "done"
        assert await here.opened.broker.replay("ingest") == 1
        for _ in range(600):
            if "new" in await here.ids():
                break
            await asyncio.sleep(0.05)
        assert "new" in await here.ids()
        assert (await state(here))["embedder"] == NEW


async def test_what_the_old_embedder_made_leaves_the_cache(tmp_path: Path, filled: str) -> None:
    async with world(tmp_path / "p", filled, **BOTH) as here:
        await here.worker.start()
        await here.ended(await here.send(("cached", "A text that is in the cache.")))
        found = await here.parts.record.get("default", "default", "cached")
        texts = [embedded_text(found.document.title, each.section, each.text) for each in found.passages]
        cache = here.opened.cache
        assert None not in await cache.get_many(keys_of(OLD, texts))
        assert (await here.ended(await begun(here)))["state"] == "done"
        assert await cache.get_many(keys_of(OLD, texts)) == [None]
        assert None not in await cache.get_many(keys_of(NEW, texts))
        await here.client.delete("/documents/cached")
        assert await cache.get_many(keys_of(NEW, texts)) == [None]


async def stored(here: World, name: str) -> pb.ExportedDocument:
    """A document with its vectors."""
    async for part in here.parts.record.stub.Export(pb.ExportRequest(tenant="default"), timeout=60):
        if part.document.document.id == name:
            return pb.ExportedDocument.FromString(part.document.SerializeToString())
    raise AssertionError(f"{name} is not there")


def expected(here: World, fingerprint: str, found: pb.ExportedDocument) -> bytes:
    """The vectors that the passages have by this embedder."""
    embedding = here.parts.loaded.of(fingerprint)
    assert embedding is not None
    texts = [embedded_text(found.document.title, each.section, each.text) for each in found.passages]
    return embedding.embedder.embed(texts).vectors.astype("<f4").tobytes()
