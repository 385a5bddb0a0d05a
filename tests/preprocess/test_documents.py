"""Deleting: it is at once, it is for good, and it wins over every write that was acknowledged before it."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from ragline.errors import NotFound
from ragline.spans import embedded_text
from ragline.v1 import retriever_pb2 as pb
from services.preprocess.embed import Embeddings
from tests.preprocess.test_ingest import LINES
from tests.preprocess.world import World


async def test_a_deleted_document_leaves_nothing(here: World) -> None:
    await here.run(await here.send(("a", "One."), ("b", "Two.")), 0)
    passage = (await here.parts.record.get("default", "default", "a")).passages[0]
    keys = here.parts.embedding.keys([embedded_text(passage.title, passage.section, passage.text)])
    assert (await here.opened.cache.get_many(keys))[0] is not None
    deleted = await here.documents.delete("default", "default", "a")
    assert (deleted.passages, deleted.generation) == (1, 2)
    assert await here.opened.cache.get_many(keys) == [None]
    assert len(await here.parts.blobs.uris()) == 1  # b still waits in the queue
    with pytest.raises(NotFound, match="'a'"):
        await here.documents.delete("default", "default", "a")


async def test_a_delete_wins_over_a_write_that_is_still_queued(here: World) -> None:
    job_id = await here.send(("a", "One."))
    deleted = await here.documents.delete("default", "default", "a")
    assert deleted.passages == 0
    await here.run(job_id, 0)
    assert await here.ids() == []
    assert await here.parts.blobs.uris() == []
    assert (await here.parts.jobs.get("default", job_id)).state == "done"


async def test_a_delete_wins_over_a_write_that_is_in_hand(here: World, monkeypatch: pytest.MonkeyPatch) -> None:
    embed, embedding, go_on = here.parts.embedding.embed, asyncio.Event(), asyncio.Event()

    async def held(*texts: Any, **options: Any) -> Embeddings:
        embedding.set()
        await go_on.wait()
        return await embed(*texts, **options)

    monkeypatch.setattr(here.parts.embedding, "embed", held)
    job_id = await here.send(("a", "One."))
    running = asyncio.create_task(here.run(job_id, 0))
    await embedding.wait()
    await here.documents.delete("default", "default", "a")
    go_on.set()
    await running
    assert await here.ids() == []
    assert await here.parts.blobs.uris() == []
    texts = [embedded_text("", "", "One.")]
    assert await here.opened.cache.get_many(here.parts.embedding.keys(texts)) == [None]


async def test_a_write_after_a_delete_stays(here: World) -> None:
    before = await here.send(("a", "Old."))
    await here.documents.delete("default", "default", "a")
    after = await here.send(("a", "New."))
    for job_id in (before, after, before):
        await here.run(job_id, 0)
    assert (await here.parts.record.get("default", "default", "a")).document.source == "New."


async def test_deleting_a_file_of_many_deletes_what_came_out_of_it(here: World) -> None:
    await here.run(await here.send_files(("list.jsonl", LINES)), 0)
    await here.run(await here.send(("z", "Sent for itself.")), 0)
    deleted = await here.documents.delete("default", "default", "list.jsonl")
    assert deleted.passages == 2
    assert await here.ids() == ["z"]
    with pytest.raises(NotFound):
        await here.documents.delete("default", "default", "list.jsonl")


async def test_a_delete_stops_a_file_of_many_that_is_in_hand(here: World, monkeypatch: pytest.MonkeyPatch) -> None:
    upsert, documents = here.parts.record.upsert, here.documents

    async def then_delete(request: pb.UpsertRequest) -> pb.UpsertResponse:
        answer = await upsert(request)
        monkeypatch.setattr(here.parts.record, "upsert", upsert)
        deleting.append(asyncio.create_task(documents.delete("default", "default", "list.jsonl")))
        return answer

    deleting: list[asyncio.Task[object]] = []
    monkeypatch.setattr(here.parts.record, "upsert", then_delete)
    here.ingest.concurrency = 1
    await here.run(await here.send_files(("list.jsonl", LINES)), 0)
    await asyncio.gather(*deleting)
    assert await here.ids() == []


async def test_a_part_that_is_deleted_while_its_file_is_queued_stays_away(here: World) -> None:
    await here.run(await here.send_files(("list.jsonl", LINES)), 0)
    job_id = await here.send_files(("list.jsonl", LINES.replace(b"Third", b"Changed")))
    await here.documents.delete("default", "default", "z")
    await here.run(job_id, 0)
    assert await here.ids() == ["list.jsonl#2", "x"]
