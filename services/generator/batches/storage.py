"""Files under an fsspec URL that appear whole or not at all: a local or shared folder, or object storage."""

from __future__ import annotations

import contextlib
import os
import uuid
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import IO, Any

import fsspec

from ragline.settings import SettingsError

PARTIAL = ".part"


class Storage:
    """Names are paths below the URL. Every method blocks: call it in a thread. Raises OSError.

    What a method has written is durable when it returns. Listings are never cached, since other processes
    write here, too.
    """

    def __init__(self, url: str, setting: str) -> None:
        try:
            self.fs, root = fsspec.core.url_to_fs(url, use_listings_cache=False)
        except (ValueError, ImportError) as error:
            raise SettingsError(f"{setting}={url} is no good: {error}") from None
        self.root = str(root).rstrip("/")
        protocols = (self.fs.protocol,) if isinstance(self.fs.protocol, str) else self.fs.protocol
        self.local = "file" in protocols

    def path(self, name: str) -> str:
        """The whole path of a name."""
        return f"{self.root}/{name}"

    def read(self, name: str, start: int | None = None, end: int | None = None) -> bytes:
        """The bytes from ``start`` to ``end``, or all; raises FileNotFoundError."""
        data: bytes = self.fs.cat_file(self.path(name), start=start, end=end)
        return data

    def exists(self, name: str) -> bool:
        """Whether there is a file of this name."""
        return bool(self.fs.exists(self.path(name)))

    def names(self, folder: str, *, unfinished: bool = False) -> list[str]:
        """The names inside a folder, sorted; empty where it is not there. ``unfinished``: also of such files."""
        try:
            found: Sequence[str] = (
                os.listdir(self.path(folder))  # noqa: PTH208 - names alone; thousands of Paths are slow
                if self.local
                else [
                    str(each).rstrip("/").rpartition("/")[2]
                    for each in self.fs.ls(self.path(folder), detail=False)
                ]
            )
        except FileNotFoundError:
            return []
        return sorted(name for name in found if unfinished or not name.endswith(PARTIAL))

    def write(self, name: str, data: bytes) -> None:
        """Make or replace a file."""
        if not self.local:
            self.fs.pipe_file(self.path(name), data)
            return
        with self.upload(name) as target:
            target.write(data)

    def create(self, name: str, data: bytes) -> bool:
        """Make a file unless it is there; returns whether it was made. Of two at once one wins, in a folder."""
        if self.exists(name):
            return False
        if not self.local:
            self.fs.pipe_file(self.path(name), data)
            return True
        partial = f"{name}.{uuid.uuid4().hex}{PARTIAL}"
        self.write_through(partial, data)
        try:
            os.link(self.path(partial), self.path(name))
        except FileExistsError:
            return False
        finally:
            Path(self.path(partial)).unlink()
        self.sync(name.rpartition("/")[0])
        return True

    @contextlib.contextmanager
    def upload(self, name: str) -> Iterator[IO[bytes]]:
        """A file that is whole once the block has ended without an exception."""
        if not self.local:
            with self.fs.open(self.path(name), "wb") as target:
                yield target
            return
        partial = Path(self.path(f"{name}.{uuid.uuid4().hex}{PARTIAL}"))
        self.make_folder(name)
        try:
            with partial.open("wb") as target:
                yield target
                target.flush()
                os.fsync(target.fileno())
            partial.replace(self.path(name))
        except BaseException:
            partial.unlink(missing_ok=True)
            raise
        self.sync(name.rpartition("/")[0])

    def write_through(self, name: str, data: bytes) -> None:
        """Make a file in a local folder, of which nothing else is waited for than its bytes."""
        self.make_folder(name)
        with Path(self.path(name)).open("wb") as target:
            target.write(data)
            target.flush()
            os.fsync(target.fileno())

    def make_folder(self, name: str) -> None:
        """Make sure that a file of this name has a folder."""
        folder = Path(self.path(name)).parent
        if not folder.is_dir():
            folder.mkdir(parents=True, exist_ok=True)
            self.sync_path(folder.parent)

    def remove(self, name: str) -> None:
        """Remove a file, or a folder with all that is in it; one that is not there is no error."""
        with contextlib.suppress(FileNotFoundError):
            self.fs.rm(self.path(name), recursive=True)

    def age_s(self, name: str, now: float) -> float:
        """Seconds since a file or the newest file of a folder was written; 0 where the storage does not say."""
        found: dict[str, dict[str, Any]] = self.fs.find(self.path(name), detail=True)
        return min((now - written(info, now) for info in found.values()), default=now)

    def sync(self, folder: str) -> None:
        """Make names in a local folder survive a power cut."""
        self.sync_path(Path(self.path(folder)))

    def sync_path(self, folder: Path) -> None:
        """The same, of a whole path."""
        handle = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)


def written(info: dict[str, Any], now: float) -> float:
    """When a file was last written, in seconds since the epoch."""
    moment = info.get("mtime") or info.get("LastModified") or info.get("created") or now
    return float(moment.timestamp() if hasattr(moment, "timestamp") else moment)
