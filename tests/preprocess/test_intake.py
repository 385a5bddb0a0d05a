"""Taking documents in: all of it durable, or none of it; what is away is said."""

from __future__ import annotations

import errno
import io
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import orjson
import pytest

from ragline.errors import Overloaded, Unavailable
from services.preprocess.given import MAX_METADATA_BYTES
from services.preprocess.hold import Hold
from services.preprocess.intake import JOBS, Upload
from services.preprocess.jobs import Head, NewDocument, State, Work
from services.preprocess.messages import QUEUE, packed, unpacked
from tests.preprocess.world import world
from tests.suite import free_ports

MESSAGE_BYTES = 64 * 1024


def upload(name: str, data: bytes) -> Upload:
    return Upload(NewDocument(name), io.BytesIO(data))


async def test_what_is_accepted_is_on_the_disk(tmp_path: Path, address: str) -> None:
    async with world(tmp_path, address) as before:
        accepted = await before.intake.accept("default", "c", [upload("a", b"One."), upload("b", b"Two.")])
        assert accepted.degraded == ()
    async with world(tmp_path, address) as after:
        assert (await after.parts.jobs.get("default", accepted.job_id)).total == 2
        assert await after.opened.broker.depth(QUEUE) == 2
        assert sorted([await after.parts.blobs.read(uri) for uri in await after.parts.blobs.uris()]) == [
            b"One.",
            b"Two.",
        ]


async def test_a_full_queue_refuses_and_keeps_nothing(tmp_path: Path, address: str) -> None:
    url = f"sqlite://{tmp_path}/queue.db?max_messages=2"
    async with world(tmp_path, address, broker_url=url) as here:
        await here.send(("a", "One."), ("b", "Two."))
        kept = await here.parts.blobs.uris()
        with pytest.raises(Overloaded):
            await here.intake.accept("default", "default", [upload("c", b"Three.")])
        assert await here.parts.blobs.uris() == kept
        assert not await here.parts.jobs.open_write("default", "default", "c")
        answer = await here.client.post("/documents", json={"documents": [{"text": "x"}]})
        assert answer.status_code == 429
        assert int(answer.headers["retry-after"]) >= 1


async def test_a_file_over_the_limit_is_its_own_error(tmp_path: Path, address: str) -> None:
    async with world(tmp_path, address, max_document_mb=1) as here:
        job_id = await here.send_files(("big.txt", b"x" * (2 << 20)), ("good.txt", b"x"))
        job = await here.parts.jobs.get("default", job_id)
        assert [error.document_id for error in job.errors] == ["big.txt"]
        assert "max_document_mb" in job.errors[0].reason
        assert len(await here.parts.blobs.uris()) == 1
        # Its message tells a record that was lost since.
        assert here.published[job_id, 0].document.reason == job.errors[0].reason
        await here.run(job_id, 0)
        assert (await here.parts.jobs.get("default", job_id)).errors == job.errors


async def test_an_upload_that_finds_no_room_is_said_and_leaves_nothing(tmp_path: Path, address: str) -> None:
    class Full(io.BytesIO):
        def read(self, size: int | None = -1, /) -> bytes:
            raise OSError(errno.ENOSPC, "No space left on device")

    async with world(tmp_path, address) as here:
        with pytest.raises(Unavailable, match="disk"):
            await here.intake.accept("default", "c", [upload("a", b"One."), Upload(NewDocument("b"), Full())])
        assert await here.parts.blobs.uris() == []
        assert await here.opened.broker.depth(QUEUE) == 0
        assert not await here.parts.jobs.open_write("default", "c", "a")


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of one megabyte."""
    folder = tmp_path / "disk"
    folder.mkdir()
    mount, umount = shutil.which("mount") or "mount", shutil.which("umount") or "umount"
    mounted = subprocess.run(
        [mount, "-t", "tmpfs", "-o", "size=1m", "tmpfs", str(folder)], capture_output=True, check=False
    )
    if mounted.returncode:
        pytest.skip(f"this machine lets nobody mount a small disk: {mounted.stderr.decode().strip()}")
    yield folder
    subprocess.run([umount, str(folder)], check=True)


async def test_documents_go_in_again_when_a_full_disk_has_room(
    tmp_path: Path, address: str, small_disk: Path
) -> None:
    async with world(tmp_path / "p", address, blob_url=f"file://{small_disk}/blobs") as here:
        await here.worker.start()
        assert (await here.ended(await here.send(("a", "One."))))["state"] == "done"
        (small_disk / "filler").write_bytes(b"x" * (900 << 10))
        body = {"documents": [{"id": "b", "text": "Two."}, {"id": "c", "text": "x" * (400 << 10)}]}
        refused = await here.client.post("/documents", json=body)
        assert (refused.status_code, refused.headers["retry-after"]) == (503, "60")
        assert "disk" in refused.json()["detail"]
        assert len(await here.parts.blobs.uris()) == 1
        assert (await here.client.get("/documents/a")).status_code == 200
        (small_disk / "filler").unlink()
        answer = await here.client.post("/documents", json=body)
        assert answer.status_code == 202
        assert (await here.ended(answer.json()["job_id"]))["failed"] == 0
        assert await here.ids() == ["a", "b", "c"]


async def test_who_never_met_the_retriever_takes_nothing_in(tmp_path: Path) -> None:
    async with world(tmp_path, "127.0.0.1:1") as here:
        answer = await here.client.post("/documents", json={"documents": [{"text": "x"}]})
        assert (answer.status_code, answer.json()["status"], answer.headers["retry-after"]) == (503, 503, "5")
        assert await here.parts.blobs.uris() == []
        assert await here.opened.broker.depth(QUEUE) == 0


async def test_without_the_retriever_documents_wait_in_the_queue(tmp_path: Path) -> None:
    async with world(tmp_path, "127.0.0.1:1") as here:
        here.parts.record.newest = 1  # it has been there before
        for name in ("a", "b"):
            answer = await here.client.post("/documents", json={"documents": [{"id": name, "text": "x"}]})
            assert answer.status_code == 202
        assert await here.opened.broker.depth(QUEUE) == 2
        assert (await here.client.delete("/documents/a")).status_code == 503


async def test_numbers_of_the_clock_come_between_those_of_the_retriever(tmp_path: Path, address: str) -> None:
    """Also where the clock stands still, or is behind what this process saw before."""
    async with (
        world(tmp_path / "there", address) as there,
        world(tmp_path / "away", "127.0.0.1:1") as away,
    ):
        record = away.parts.record
        before = record.newest = await there.parts.record.reserve(3) + 2
        between = [await record.number(2) for _ in range(3)]
        record.clock = lambda: before
        between.append(await record.number(2))
        after = await there.parts.record.reserve(1)
        assert [before, *between, after] == sorted({before, *between, after})
        assert between[-1] >= between[-2] + 2


async def test_no_upload_is_numbered_below_a_delete_of_its_door(tmp_path: Path, address: str) -> None:
    """However far behind the door's clock is when the retriever goes away."""
    async with world(tmp_path, address) as here, world(tmp_path / "away", "127.0.0.1:1") as away:
        record = here.parts.record
        assert (await here.client.delete("/documents/gone")).status_code == 404
        deleted = record.newest
        assert deleted > 0
        record.stub, record.clock = away.parts.record.stub, lambda: 0
        assert await record.number(1) == deleted + 1


async def test_without_a_queue_nothing_is_acknowledged(tmp_path: Path, address: str) -> None:
    [port] = free_ports(1)
    async with world(tmp_path, address, broker_url=f"amqp://guest:guest@127.0.0.1:{port}/") as here:
        answer = await here.client.post("/documents", json={"documents": [{"id": "a", "text": "x"}]})
        assert answer.status_code == 503
        assert int(answer.headers["retry-after"]) >= 1
        assert not await here.parts.jobs.open_write("default", "default", "a")


async def test_without_a_job_store_documents_go_in_and_the_answer_says_so(tmp_path: Path, address: str) -> None:
    [port] = free_ports(1)
    async with world(tmp_path, address, jobs_url=f"redis://127.0.0.1:{port}") as here:
        answer = await here.client.post("/documents", json={"documents": [{"id": "a", "text": "x"}]})
        body = answer.json()
        assert (answer.status_code, body["degraded"]) == (202, [JOBS])
        assert await here.opened.broker.depth(QUEUE) == 1
        for ask in (here.client.get, here.client.delete):
            assert (await ask(f"/jobs/{body['job_id']}")).status_code == 503
        assert (await here.client.get(f"/jobs/{body['job_id']}/events")).status_code == 503
        # Whether a write is on its way cannot be known now.
        assert (await here.client.delete("/documents/a")).status_code == 404
    async with world(tmp_path, address) as back:
        await back.ingest.run(here.published[body["job_id"], 0], Hold(60))
        job = await back.parts.jobs.get("default", body["job_id"])
        assert (job.state, job.count(State.SUPERSEDED)) == ("done", 1)  # the delete wins all the same
        assert job.view()["restored"] is True


def test_the_largest_message_is_small() -> None:
    said = {"k": "\\" * ((MAX_METADATA_BYTES - 100) // 2)}
    document = NewDocument(
        id="\U0001f600" * 512,
        title="\U0001f600" * 1000,
        metadata_json=orjson.dumps(said).decode(),
        name="\U0001f600" * 512,
        media_type="text/plain",
        uri="file:///" + "x" * 300,
        sha256="0" * 64,
    )
    work = Work(Head("job-" + "0" * 32, "default", "c" * 64, 1000, 1.5), 999, 2**60, document)
    message = packed(work, "0" * 128)
    assert len(message.body) < MESSAGE_BYTES
    assert unpacked(message.body) == (work, "0" * 128)
