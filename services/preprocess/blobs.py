"""Keeps the raw bytes of documents under an fsspec URL: written whole or not at all, named by their hash."""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import os
import uuid
from dataclasses import dataclass
from pathlib import Path
from typing import IO

import fsspec

from ragline.errors import NotFound, TooLarge, Unavailable
from ragline.settings import SettingsError

CHUNK_BYTES = 1 << 20
PARTIAL = ".part"


@dataclass(frozen=True)
class Blob:
    """Bytes in the store: their address, SHA-256 in hex, and length in bytes."""

    uri: str
    sha256: str
    size: int


class Blobs:
    """A folder of blobs, local or remote. Each upload is its own blob, so each has one owner."""

    def __init__(self, url: str) -> None:
        try:
            self.fs, root = fsspec.core.url_to_fs(url)
        except (ValueError, ImportError) as error:
            raise SettingsError(f"PREPROCESS_BLOB_URL={url} is no good: {error}") from None
        self.root = str(root).rstrip("/")
        self.local = "file" in (self.fs.protocol if isinstance(self.fs.protocol, tuple) else (self.fs.protocol,))

    async def put(self, source: IO[bytes], max_bytes: int) -> Blob:
        """Store what ``source`` yields, in chunks; durable on return. Raises TooLarge past ``max_bytes``."""
        return await asyncio.to_thread(self._put, source, max_bytes)

    async def read(self, uri: str) -> bytes:
        """The bytes at ``uri``; raises NotFound, and Unavailable where a remote store does not answer."""
        try:
            data: bytes = await asyncio.to_thread(self.fs.cat_file, self._path(uri))
        except FileNotFoundError:
            raise NotFound("The raw bytes of this document are gone; send it again.") from None
        except (ConnectionError, TimeoutError) as error:
            raise Unavailable("The store of raw documents does not answer.") from error
        return data

    async def remove(self, uri: str) -> None:
        """Remove the bytes at ``uri``; unknown ones are no error."""
        with contextlib.suppress(FileNotFoundError):
            await asyncio.to_thread(self.fs.rm_file, self._path(uri))

    async def uris(self) -> list[str]:
        """Addresses of everything here, unfinished uploads included."""
        return await asyncio.to_thread(self._uris)

    def _put(self, source: IO[bytes], max_bytes: int) -> Blob:
        name = uuid.uuid4().hex
        partial = f"{self.root}/{name}{PARTIAL}"
        self.fs.makedirs(self.root, exist_ok=True)
        try:
            sha256, size = self._copy(source, partial, max_bytes)
            path = f"{self.root}/{sha256[:2]}/{sha256}-{name}"
            self._move(partial, path)
        except BaseException:
            with contextlib.suppress(FileNotFoundError):
                self.fs.rm_file(partial)
            raise
        return Blob(self.fs.unstrip_protocol(path), sha256, size)

    def _copy(self, source: IO[bytes], partial: str, max_bytes: int) -> tuple[str, int]:
        digest, size = hashlib.sha256(), 0
        with self.fs.open(partial, "wb") as target:
            while chunk := source.read(CHUNK_BYTES):
                size += len(chunk)
                if size > max_bytes:
                    raise too_large(max_bytes)
                digest.update(chunk)
                target.write(chunk)
            if self.local:
                target.flush()
                os.fsync(target.fileno())
        return digest.hexdigest(), size

    def _move(self, partial: str, path: str) -> None:
        folder = path.rpartition("/")[0]
        self.fs.makedirs(folder, exist_ok=True)
        if not self.local:
            self.fs.mv(partial, path)
            return
        Path(partial).replace(path)
        sync_folder(folder)
        sync_folder(self.root)

    def _path(self, uri: str) -> str:
        path = str(fsspec.core.url_to_fs(uri, **self.fs.storage_options)[1])
        if not path.startswith(self.root + "/") or ".." in path.split("/"):
            raise NotFound("The raw bytes of this document lie outside the blob store; send it again.")
        return path

    def _uris(self) -> list[str]:
        if not self.fs.exists(self.root):
            return []
        self.fs.invalidate_cache(self.root)  # remote stores remember what they listed
        return [self.fs.unstrip_protocol(path) for path in self.fs.find(self.root)]


def sync_folder(folder: str) -> None:
    """Make a rename in this folder survive a power cut."""
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def too_large(max_bytes: int) -> TooLarge:
    """The refusal of a document over the limit."""
    return TooLarge(
        f"The document is larger than {max_bytes >> 20} MB (max_document_mb); split it,"
        " or raise PREPROCESS_MAX_DOCUMENT_MB."
    )
