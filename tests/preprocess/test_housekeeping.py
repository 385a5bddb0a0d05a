"""Order behind the workers: jobs whose record was lost end, bytes that nothing needs go, and no others."""

from __future__ import annotations

import io
from pathlib import Path

from services.preprocess.housekeeping import LOST_S
from services.preprocess.messages import QUEUE
from tests.preprocess.world import World


async def taken(here: World, count: int) -> None:
    """So many messages were handled by somebody and are gone."""

    async def take(_: object) -> None:
        nonlocal count
        count -= 1

    consumer = await here.opened.broker.consume(QUEUE, take, concurrency=1)
    while await here.opened.broker.depth(QUEUE):
        await here.parts.jobs.open_jobs()
    await consumer.stop()


async def test_a_job_that_nothing_reports_on_any_more_ends(here: World) -> None:
    lost = await here.send(("d", "Four."), ("e", "Five."))
    await here.run(lost, 0)
    await taken(here, 2)
    house = here.worker.housekeeping
    assert await house.end_lost_jobs(0.0) == 1
    await house.end_lost_jobs(LOST_S - 1)
    assert not (await here.parts.jobs.get("default", lost)).ended
    await house.end_lost_jobs(LOST_S)
    job = (await here.parts.jobs.get("default", lost)).view()
    assert (job["state"], job["done"], job["unreported"]) == ("done", 2, 1)
    assert await house.end_lost_jobs(LOST_S + 1) == 0


async def test_what_is_in_hand_somewhere_has_longer(here: World) -> None:
    job_id = await here.send(("a", "One."))
    await here.parts.jobs.begin(here.published[job_id, 0])
    await taken(here, 1)
    house = here.worker.housekeeping
    await house.end_lost_jobs(0.0)
    await house.end_lost_jobs(2 * house.hold_s - 1)
    assert (await here.parts.jobs.get("default", job_id)).state == "running"
    await house.end_lost_jobs(2 * house.hold_s)
    assert (await here.parts.jobs.get("default", job_id)).state == "done"


async def test_a_job_that_goes_on_is_left_alone(here: World) -> None:
    job_id = await here.send(("a", "One."), ("b", "Two."))
    await taken(here, 2)
    house = here.worker.housekeeping
    await house.end_lost_jobs(0.0)
    await here.run(job_id, 0)  # there was news in between
    await house.end_lost_jobs(LOST_S)
    assert not (await here.parts.jobs.get("default", job_id)).ended


async def test_bytes_that_nothing_names_are_removed(here: World) -> None:
    await here.run(await here.send(("a", "One.")))
    await taken(here, 1)
    await here.parts.blobs.put(io.BytesIO(b"Orphan."), 100)
    (Path(here.parts.blobs.root) / "half.part").write_bytes(b"Half an upl")
    await here.worker.housekeeping.sweep()
    held = await here.parts.record.brief("default", "default", "a")
    assert held is not None
    assert await here.parts.blobs.uris() == [held.document.uri]


async def test_bytes_that_a_message_may_name_are_kept(here: World) -> None:
    await here.send(("a", "One."))
    house = here.worker.housekeeping
    await house.sweep()
    assert len(await here.parts.blobs.uris()) == 1

    async def refuse(_: object) -> None:
        raise ConnectionError("gone")

    consumer = await here.opened.broker.consume(QUEUE, refuse, concurrency=1)
    while await here.opened.broker.depth(QUEUE):
        await here.parts.jobs.open_jobs()
    await consumer.stop()
    await here.parts.blobs.put(io.BytesIO(b"Orphan."), 100)
    await house.sweep()
    assert len(await here.parts.blobs.uris()) == 1  # the dead letter's: it may be replayed
    await here.opened.broker.purge(QUEUE)
    await house.sweep()
    assert await here.parts.blobs.uris() == []


async def test_bytes_are_removed_only_when_they_have_lain_for_a_while(here: World) -> None:
    house = here.worker.housekeeping
    house.orphan_age_s = 3600.0
    await here.parts.blobs.put(io.BytesIO(b"Of an upload that is not yet published."), 100)
    for _ in range(2):
        await house.sweep()
    assert len(await here.parts.blobs.uris()) == 1
    [uri] = house.first_seen
    house.first_seen[uri] -= 3600.0
    await house.sweep()
    assert await here.parts.blobs.uris() == []
    assert not house.first_seen


async def test_rounds_sweep_once_all_has_been_still_for_as_long_as_a_message_is_held(here: World) -> None:
    house = here.worker.housekeeping
    await here.parts.blobs.put(io.BytesIO(b"Orphan."), 100)
    job_id = await here.send(("a", "One."))
    await taken(here, 1)
    house.hold_s = 0.0
    await house.round()
    assert len(await here.parts.blobs.uris()) == 2  # the job is open
    await here.parts.jobs.cancel("default", job_id)
    house.hold_s = 600.0
    await house.round()
    assert len(await here.parts.blobs.uris()) == 2  # somebody may have a message in hand
    house.hold_s = 0.0
    await house.round()
    assert await here.parts.blobs.uris() == []
