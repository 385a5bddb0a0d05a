"""Taking documents in: all of it durable, or none of it."""

from __future__ import annotations

import errno
import io
from pathlib import Path

import pytest

from ragline.errors import Overloaded, Unavailable
from services.preprocess.intake import QUEUE, Upload
from services.preprocess.jobs import NewDocument
from tests.preprocess.world import world

NOWHERE = "127.0.0.1:1"


def upload(name: str, data: bytes) -> Upload:
    return Upload(NewDocument(name), io.BytesIO(data))


async def test_what_is_accepted_is_on_the_disk(tmp_path: Path) -> None:
    async with world(tmp_path, NOWHERE) as before:
        job_id = await before.intake.accept("default", "c", [upload("a", b"One."), upload("b", b"Two.")])
    async with world(tmp_path, NOWHERE) as after:
        assert (await after.parts.jobs.get("default", job_id)).total == 2
        assert await after.opened.broker.depth(QUEUE) == 2
        assert sorted([await after.parts.blobs.read(uri) for uri in await after.parts.blobs.uris()]) == [
            b"One.",
            b"Two.",
        ]


async def test_a_full_queue_refuses_and_keeps_nothing(tmp_path: Path) -> None:
    url = f"sqlite://{tmp_path}/queue.db?max_messages=2"
    async with world(tmp_path, NOWHERE, broker_url=url) as here:
        await here.send(("a", "One."), ("b", "Two."))
        kept = await here.parts.blobs.uris()
        with pytest.raises(Overloaded):
            await here.intake.accept("default", "default", [upload("c", b"Three.")])
        assert await here.parts.blobs.uris() == kept
        assert not await here.parts.jobs.open_write("default", "default", "c")
        answer = await here.client.post("/documents", json={"documents": [{"text": "x"}]})
        assert answer.status_code == 429
        assert int(answer.headers["retry-after"]) >= 1


async def test_a_file_over_the_limit_is_its_own_error(tmp_path: Path) -> None:
    async with world(tmp_path, NOWHERE, max_document_mb=1) as here:
        job_id = await here.send_files(("big.txt", b"x" * (2 << 20)), ("good.txt", b"x"))
        job = await here.parts.jobs.get("default", job_id)
        assert [error.document_id for error in job.errors] == ["big.txt"]
        assert "max_document_mb" in job.errors[0].reason
        assert await here.opened.broker.depth(QUEUE) == 1
        assert len(await here.parts.blobs.uris()) == 1


async def test_a_full_disk_is_said_and_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    class Full(io.BytesIO):
        def read(self, size: int | None = -1, /) -> bytes:
            raise OSError(errno.ENOSPC, "No space left on device")

    async with world(tmp_path, NOWHERE) as here:
        with pytest.raises(Unavailable, match="disk"):
            await here.intake.accept("default", "c", [upload("a", b"One."), Upload(NewDocument("b"), Full())])
        assert await here.parts.blobs.uris() == []
        assert not await here.parts.jobs.open_write("default", "c", "a")
