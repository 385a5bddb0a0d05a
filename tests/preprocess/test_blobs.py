"""Raw bytes: whole or not at all, counted, removed, and only below the store's own folder."""

from __future__ import annotations

import hashlib
import io
from pathlib import Path

import pytest

from ragline.errors import NotFound, TooLarge
from ragline.settings import SettingsError
from services.preprocess.blobs import Blobs


@pytest.fixture(params=["file", "memory"])
def blobs(request: pytest.FixtureRequest, tmp_path: Path) -> Blobs:
    return Blobs(f"{request.param}://{tmp_path}/blobs")


async def test_what_is_put_is_read_again(blobs: Blobs) -> None:
    data = b"x" * 3_000_000
    blob = await blobs.put(io.BytesIO(data), len(data))
    assert (blob.size, blob.sha256) == (len(data), hashlib.sha256(data).hexdigest())
    assert blob.sha256 in blob.uri
    assert await blobs.read(blob.uri) == data
    assert await blobs.uris() == [blob.uri]


async def test_equal_bytes_have_one_owner_each(blobs: Blobs) -> None:
    one, other = [await blobs.put(io.BytesIO(b"same"), 10) for _ in range(2)]
    await blobs.remove(one.uri)
    await blobs.remove(one.uri)
    assert await blobs.read(other.uri) == b"same"
    with pytest.raises(NotFound, match="send it again"):
        await blobs.read(one.uri)


async def test_too_many_bytes_leave_nothing(blobs: Blobs) -> None:
    with pytest.raises(TooLarge, match="max_document_mb"):
        await blobs.put(io.BytesIO(b"x" * 2_000_001), 2_000_000)
    assert await blobs.uris() == []


async def test_an_upload_that_breaks_leaves_nothing(blobs: Blobs) -> None:
    class Broken(io.BytesIO):
        def read(self, size: int | None = -1, /) -> bytes:
            raise ConnectionError("the client left")

    with pytest.raises(ConnectionError):
        await blobs.put(Broken(), 10)
    assert await blobs.uris() == []


async def test_nothing_outside_the_store_is_read_or_removed(tmp_path: Path) -> None:
    blobs = Blobs(f"file://{tmp_path}/blobs")
    outside = tmp_path / "secret"
    outside.write_text("x")
    for uri in (f"file://{outside}", f"file://{tmp_path}/blobs/../secret", "../secret"):
        with pytest.raises(NotFound):
            await blobs.read(uri)
        with pytest.raises(NotFound):
            await blobs.remove(uri)
    assert outside.exists()


def test_an_unknown_store_stops_the_start() -> None:
    with pytest.raises(SettingsError, match="PREPROCESS_BLOB_URL"):
        Blobs("nowhere://x")
