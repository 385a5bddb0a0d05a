"""Long work goes back to the queue in time, and goes on with what it kept."""

from __future__ import annotations

from pathlib import Path

import orjson
import pytest

from ragline.broker import Unfinished
from tests.preprocess.world import World, world

LONG = "\n\n".join(f"# Part {n}\n\n" + f"The harbour number {n} opens at nine. " * 20 for n in range(12))
MANY = b"\n".join(orjson.dumps({"id": f"d{n}", "text": f"Text number {n}."}) for n in range(12))
AT_ONCE = 0.0


async def deliveries(here: World, job_id: str, hold_s: float) -> int:
    """How often the message has to come until the work is done."""
    for count in range(1, 100):
        try:
            await here.run(job_id, hold_s=hold_s)
        except Unfinished:
            continue
        return count
    raise AssertionError("it gets nowhere")


@pytest.fixture
def slow(here: World) -> World:
    """Each call of the embedder takes one passage, each file one document at a time."""
    here.ingest.passages.batch = 1
    here.ingest.concurrency = 1
    return here


async def test_a_long_document_goes_on_with_what_was_embedded(slow: World) -> None:
    job_id = await slow.send(("a", LONG))
    count = await deliveries(slow, job_id, AT_ONCE)
    found = await slow.parts.record.get("default", "default", "a")
    assert count == len(found.passages) > 1  # each delivery embeds one passage more
    assert (await slow.parts.jobs.get("default", job_id)).state == "done"


async def test_with_time_enough_one_delivery_does(slow: World) -> None:
    assert await deliveries(slow, await slow.send(("a", LONG)), 600) == 1


async def test_where_no_cache_keeps_what_was_embedded_the_document_is_finished(
    slow: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def forgets(*_: object) -> None:
        return None

    monkeypatch.setattr(slow.opened.cache, "set_many", forgets)
    assert await deliveries(slow, await slow.send(("a", LONG)), AT_ONCE) == 1


async def test_a_file_of_many_goes_on_with_what_was_stored(slow: World) -> None:
    job_id = await slow.send_files(("list.jsonl", MANY))
    count = await deliveries(slow, job_id, AT_ONCE)
    assert count == 12  # each stores one, and the last settles the file, too
    job = await slow.parts.jobs.get("default", job_id)
    assert (job.state, job.total, job.view()["done"], job.view()["unchanged"]) == ("done", 12, 12, 0)
    assert len(await slow.ids()) == 12
    assert await slow.parts.blobs.uris() == []


async def test_a_cancelled_file_stops_between_two_of_its_documents(slow: World) -> None:
    job_id = await slow.send_files(("list.jsonl", MANY))
    for _ in range(3):
        with pytest.raises(Unfinished):
            await slow.run(job_id, hold_s=AT_ONCE)
    await slow.client.delete(f"/jobs/{job_id}")
    await slow.run(job_id, hold_s=AT_ONCE)
    job = await slow.parts.jobs.get("default", job_id)
    assert (job.state, job.total, job.view()["done"]) == ("cancelled", 12, 3)
    assert len(await slow.ids()) == 3
    assert await slow.parts.blobs.uris() == []


async def test_the_worker_takes_slices_until_all_is_done(tmp_path: Path, address: str) -> None:
    async with world(tmp_path / "p", address, hold_s=1e-6) as here:
        here.ingest.passages.batch = 1
        await here.worker.start()
        for job_id in (await here.send(("a", LONG)), await here.send_files(("list.jsonl", MANY))):
            job = await here.ended(job_id)
            assert (job["state"], job["failed"]) == ("done", 0)
        assert len(await here.ids()) == 13
