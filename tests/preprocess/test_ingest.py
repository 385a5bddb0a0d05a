"""From a message to a searchable document: each step may come twice, later or never."""

from __future__ import annotations

import asyncio
from pathlib import Path

import orjson
import pytest

from ragline import token_vectors
from ragline.errors import TimedOut, Unavailable
from ragline.spans import embedded_text
from ragline.v1 import retriever_pb2 as pb
from services.preprocess.hold import Hold
from services.preprocess.jobs import State
from tests.preprocess.world import World, retriever, world

LINES = b"\n".join(
    orjson.dumps(line)
    for line in ({"id": "x", "text": "First."}, {"text": "Second."}, {"id": "z", "text": "Third."})
)


async def view(here: World, job_id: str) -> dict[str, object]:
    return (await here.parts.jobs.get("default", job_id)).view()


async def test_a_document_is_searchable_when_its_job_is_done(here: World) -> None:
    job_id = await here.send(("a", "# Head\n\nThe harbour opens at nine."))
    assert (await view(here, job_id))["state"] == "queued"
    await here.run(job_id, 0)
    assert (await view(here, job_id))["state"] == "done"
    found = await here.parts.record.get("default", "default", "a")
    assert found.document.source == "# Head\n\nThe harbour opens at nine."
    assert found.passages
    for passage in found.passages:
        assert found.document.source[passage.start : passage.end]


async def test_a_message_that_comes_twice_changes_nothing(here: World) -> None:
    job_id = await here.send(("a", "One."), ("b", "Two."))
    await here.run(job_id, 0)
    generation = (await here.parts.record.page("default", "default", 9, "")).generation
    await here.run(job_id, 0)
    assert (await here.parts.record.page("default", "default", 9, "")).generation == generation
    assert (await view(here, job_id))["done"] == 1


async def test_a_try_that_died_between_storing_and_saying_so_is_made_good(
    here: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    job_id = await here.send(("a", "One."))
    finish = here.parts.jobs.finish

    async def die(*_: object) -> None:
        raise Unavailable("The process is gone.")

    with monkeypatch.context() as patched:
        patched.setattr(here.parts.jobs, "finish", die)
        with pytest.raises(Unavailable):
            await here.run(job_id, 0)
    assert here.parts.jobs.finish == finish
    assert (await view(here, job_id))["state"] == "running"
    await here.run(job_id, 0)
    job = await view(here, job_id)
    assert (job["state"], job["unchanged"]) == ("done", 0)
    assert await here.parts.blobs.read(here.published[job_id, 0].document.uri) == b"One."


async def test_the_same_again_changes_nothing_and_is_kept_once(here: World) -> None:
    for _ in range(2):
        job_id = await here.send(("a", "One."))
        await here.run(job_id, 0)
    assert (await view(here, job_id))["unchanged"] == 1
    held = await here.parts.record.brief("default", "default", "a")
    assert held is not None
    assert await here.parts.blobs.uris() == [held.document.uri]


async def test_other_metadata_is_a_change(here: World) -> None:
    for team in ("red", "blue"):
        job_id = await here.send_files(("a.md", b"One."), metadata=orjson.dumps({"team": team}).decode())
        await here.run(job_id, 0)
    held = await here.parts.record.brief("default", "default", "a.md")
    assert held is not None
    assert orjson.loads(held.document.metadata_json) == {"team": "blue"}


async def test_replacing_a_document_removes_its_old_bytes(here: World) -> None:
    for text in ("One.", "Two."):
        await here.run(await here.send(("a", text)), 0)
    held = await here.parts.record.brief("default", "default", "a")
    assert held is not None
    assert await here.parts.blobs.uris() == [held.document.uri]
    assert await here.parts.blobs.read(held.document.uri) == b"Two."


async def test_what_is_wrong_with_a_document_is_its_own_error(here: World) -> None:
    job_id = await here.send_files(
        ("good.md", b"Fine."), ("bad.pdf", b"%PDF-1.7 broken"), ("zero.bin", b"\x00\x01" * 99)
    )
    for n in range(3):
        await here.run(job_id, n)
    job = await here.parts.jobs.get("default", job_id)
    assert job.state == "done"
    assert [error.document_id for error in job.errors] == ["bad.pdf", "zero.bin"]
    assert all(error.reason.endswith(".") for error in job.errors)
    assert len(await here.parts.blobs.uris()) == 1


async def test_what_may_be_gone_at_the_next_try_is_raised(tmp_path: Path) -> None:
    async with retriever(tmp_path / "r") as address, world(tmp_path / "p", address) as here:
        job_id = await here.send(("a", "One."))
    async with world(tmp_path / "p", "127.0.0.1:1", retriever_timeout_s=0.2) as alone:
        work = here.published[job_id, 0]
        with pytest.raises((Unavailable, TimedOut)):
            await alone.ingest.run(work, Hold(60))
        assert (await view(alone, job_id))["state"] == "running"
        await alone.ingest.park(work, "Away.")
        job = await view(alone, job_id)
        assert job["errors"] == [{"document_id": "a", "reason": "Away."}]


async def test_a_file_of_many_becomes_many_documents(here: World) -> None:
    job_id = await here.send_files(("list.jsonl", LINES + b"\n{broken\n"))
    await here.run(job_id, 0)
    job = await view(here, job_id)
    assert (job["state"], job["done"], job["total"], job["failed"]) == ("done", 4, 4, 1)
    assert job["errors"][0]["document_id"] == "list.jsonl#4"  # type: ignore[index]
    assert await here.ids() == ["list.jsonl#2", "x", "z"]
    assert await here.parts.blobs.uris() == []


async def test_a_newer_file_of_many_replaces_the_older_one_wholly(here: World) -> None:
    await here.run(await here.send_files(("list.jsonl", LINES)), 0)
    job_id = await here.send_files(("list.jsonl", b'{"id": "z", "text": "Third."}\n{"id": "new", "text": "New."}'))
    await here.run(job_id, 0)
    assert (await view(here, job_id))["unchanged"] == 1
    assert await here.ids() == ["new", "z"]


async def test_one_id_twice_in_a_file_is_the_second_ones_error(here: World) -> None:
    job_id = await here.send_files(("list.jsonl", b'{"id": "x", "text": "One."}\n{"id": "x", "text": "Two."}'))
    await here.run(job_id, 0)
    job = await view(here, job_id)
    assert (job["done"], job["failed"]) == (2, 1)
    assert (await here.parts.record.get("default", "default", "x")).document.source.strip() == "One."


async def test_a_file_of_many_goes_on_where_it_was_left(here: World, monkeypatch: pytest.MonkeyPatch) -> None:
    upsert = here.parts.record.upsert
    stored: list[str] = []

    async def fail_on_third(request: pb.UpsertRequest) -> pb.UpsertResponse:
        if len(stored) == 2:
            raise Unavailable("Away.")
        stored.append(request.document.id)
        return await upsert(request)

    monkeypatch.setattr(here.parts.record, "upsert", fail_on_third)
    here.ingest.concurrency = 1
    job_id = await here.send_files(("list.jsonl", LINES))
    with pytest.raises(Unavailable):
        await here.run(job_id, 0)
    assert (await view(here, job_id))["done"] == 2
    monkeypatch.setattr(here.parts.record, "upsert", upsert)
    await here.run(job_id, 0)
    job = await view(here, job_id)
    assert (job["state"], job["done"], job["total"], job["unchanged"]) == ("done", 3, 3, 0)


async def test_an_older_write_never_replaces_a_newer_one(here: World) -> None:
    old, new = await here.send(("a", "Old.")), await here.send(("a", "New."))
    await here.run(new, 0)
    await here.run(old, 0)
    assert (await here.parts.record.get("default", "default", "a")).document.source == "New."
    assert (await here.parts.jobs.get("default", old)).count(State.SUPERSEDED) == 1
    assert len(await here.parts.blobs.uris()) == 1


@pytest.mark.models
@pytest.mark.parametrize("wanted", [True, False])
async def test_token_vectors_of_passages_are_kept_for_the_reranker(
    tmp_path: Path, address: str, minilm: Path, wanted: bool
) -> None:
    model = {"embedder": "onnx", "embedder_options": {"model": str(minilm)}, "token_vectors": wanted}
    async with world(tmp_path / "p", address, **model) as here:
        await here.run(await here.send(("a", "The harbour opens at nine.")), 0)
        passage = (await here.parts.record.get("default", "default", "a")).passages[0]
        text = embedded_text(passage.title, passage.section, passage.text)
        key = token_vectors.key(here.parts.embedding.embedder.fingerprint, text)
        assert (await here.opened.cache.get_many([key]) != [None]) is wanted
        await here.documents.delete("default", "default", "a")
        assert await here.opened.cache.get_many([key]) == [None]


async def test_writes_of_one_document_at_once_end_with_the_last(here: World) -> None:
    jobs = [await here.send(("a", f"Version {n}.")) for n in range(8)]
    await asyncio.gather(*(here.run(job_id, 0) for job_id in jobs))
    assert (await here.parts.record.get("default", "default", "a")).document.source == "Version 7."
    assert len(await here.parts.blobs.uris()) == 1
