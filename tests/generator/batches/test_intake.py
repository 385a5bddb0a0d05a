"""A batch is in as a whole or not at all, and what is old or never came to be is removed."""

import asyncio
import time
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from ragline.errors import InvalidRequest, NotFound, Overloaded, RaglineError, TooLarge, Unavailable
from services.generator.batches.inputs import Bounds
from services.generator.batches.intake import Intake
from services.generator.batches.manifest import QUEUE, QUEUED, folder, new_id
from services.generator.batches.storage import Storage
from services.generator.room import Room
from tests.generator.batches.places import DAY_S, Place, line, said, sqlite

LINES = [line(f"q{n}") for n in range(9)]


def everything(storage: Storage) -> list[str]:
    return [f"{where}/{name}" for where in storage.names("") for name in storage.names(where, unfinished=True)]


async def test_a_batch_is_known_once_it_is_accepted(storage: Storage, tmp_path: Path) -> None:
    async with sqlite(tmp_path) as broker:
        place = Place(storage, broker)
        first, second = await place.accept(*LINES), await place.accept(*LINES)
        assert await broker.depth(QUEUE) == 6
        assert place.batches.get("default", first.id) == first
        assert [view["id"] for view in place.batches.page("default", 10, "")] == [second.id, first.id]
        assert [view["id"] for view in place.batches.page("default", 10, second.id)] == [first.id]
        assert place.batches.page("default", 10, first.id) == []
        assert place.batches.page("another", 10, "") == []
        for tenant, batch_id in (("another", first.id), ("default", new_id()), ("default", "../t-default")):
            with pytest.raises(NotFound):
                place.batches.get(tenant, batch_id)


@pytest.mark.parametrize("tenant", ["..", "a/b", ".", "ü 😀", "t-default"])
async def test_no_tenant_leads_out_of_its_folder(storage: Storage, tmp_path: Path, tenant: str) -> None:
    async with sqlite(tmp_path) as broker:
        place = Place(storage, broker)
        batch = await place.intake.accept(tenant, one(LINES[0]))
        assert len(storage.names("")) == 1
        assert place.batches.get(tenant, batch.id).tenant == tenant
        place.worker().tidy(time.time() + 8 * DAY_S)
        assert place.batches.page(tenant, 10, "") == []


async def one(data: bytes) -> AsyncIterator[bytes]:
    yield data


@pytest.mark.parametrize(
    ("data", "kind"), [(b"", InvalidRequest), (b"x" * (2 << 20), TooLarge), (b"7", InvalidRequest)]
)
async def test_what_is_refused_leaves_nothing(
    storage: Storage, tmp_path: Path, data: bytes, kind: type[RaglineError]
) -> None:
    async with sqlite(tmp_path) as broker:
        place = Place(storage, broker)
        with pytest.raises(kind):
            await place.accept(data)
        assert everything(storage) == []
        assert await broker.depth(QUEUE) == 0


async def test_a_full_queue_refuses_the_whole_batch(storage: Storage, tmp_path: Path) -> None:
    async with sqlite(tmp_path, max_messages=4) as broker:
        place = Place(storage, broker)
        kept = await place.accept(*LINES)
        with pytest.raises(Overloaded):
            await place.accept(*LINES)
        assert [view["id"] for view in place.batches.page("default", 10, "")] == [kept.id]
        async with place.working():
            await place.ended(kept)
        assert len(said(place.results(kept))) == len(LINES)


async def test_a_client_that_leaves_leaves_nothing(storage: Storage, tmp_path: Path) -> None:
    async def slow() -> AsyncIterator[bytes]:
        yield LINES[0] * 10_000
        begun.set()
        await asyncio.Event().wait()

    begun = asyncio.Event()
    async with sqlite(tmp_path) as broker:
        place = Place(storage, broker)
        task = asyncio.create_task(place.intake.accept("default", slow()))
        await begun.wait()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert everything(storage) == []


async def test_a_storage_that_is_no_folder_is_unavailable(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x")
    async with sqlite(tmp_path) as broker:
        with pytest.raises(Unavailable, match="GENERATOR_BATCH_URL"):
            await Place(Storage(f"file://{tmp_path}/file/batches", "URL"), broker).accept(*LINES)


async def test_uploads_at_once_are_bounded(storage: Storage, tmp_path: Path) -> None:
    async with sqlite(tmp_path) as broker:
        batches = Place(storage, broker).batches
        intake = Intake(batches, broker, Bounds(), Room(0, "batches", "GENERATOR_MAX_BATCH_UPLOADS"))
        with pytest.raises(Overloaded, match="GENERATOR_MAX_BATCH_UPLOADS"):
            await intake.accept("default", one(LINES[0]))


async def test_old_batches_are_removed_and_their_messages_passed_over(storage: Storage, tmp_path: Path) -> None:
    async with sqlite(tmp_path) as broker:
        place = Place(storage, broker)
        old = await place.accept(*LINES)
        worker = place.worker()
        worker.tidy(time.time() + 6.9 * DAY_S)
        assert place.batches.get("default", old.id)
        worker.tidy(time.time() + 7.1 * DAY_S)
        with pytest.raises(NotFound):
            place.batches.get("default", old.id)
        assert storage.names(old.folder) == ["removed"]
        async with place.working():
            while await broker.depth(QUEUE):  # noqa: ASYNC110 - the queue has no event
                await asyncio.sleep(0.02)
        assert await broker.dead_letters(QUEUE) == []
        assert not place.till.asked
        worker.tidy(time.time() + 14.1 * DAY_S)
        assert everything(storage) == []


async def test_what_was_never_acknowledged_is_removed(storage: Storage, tmp_path: Path) -> None:
    async with sqlite(tmp_path) as broker:
        place = Place(storage, broker)
        batch = await place.accept(*LINES)
        storage.remove(f"{batch.folder}/{QUEUED}")  # as a kill between the messages and the answer leaves it
        storage.write(f"{folder('default', new_id())}/input.jsonl", LINES[0])  # as a kill in the upload leaves it
        assert place.batches.page("default", 10, "") == []
        worker = place.worker()
        worker.tidy(time.time() + 600)
        assert len(everything(storage)) == 2
        worker.tidy(time.time() + 4000)
        assert everything(storage) == [batch.folder]
        assert place.batches.is_removed("default", batch.id)
