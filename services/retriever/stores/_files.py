"""A collection's vectors on the disk beside the record: whole and checked, or not used at all."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import uuid
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import structlog

from services.retriever.dense import Layered, LayeredBackend, Sealed
from services.retriever.stores import Rows
from services.retriever.stores._rows import Collection
from services.retriever.stores._snapshot import Frequencies, Snapshot
from services.retriever.stores._streams import runs, spread

LAYOUT = 1
MANIFEST = "manifest"
READ_BYTES = 1 << 20
FAULTS = (OSError, ValueError, KeyError, TypeError, RuntimeError)  # what reading a damaged file raises

log = structlog.get_logger(__name__)


@dataclass(frozen=True)
class Restored:
    """What the files hold: sealed parts, by row, and the word piece counts of the rows that lived then."""

    parts: Sequence[tuple[Rows, Sealed]]
    counted: Rows
    counts: Frequencies


class Files:
    """The folder of one collection; one thread at a time uses it.

    A part's file is written once. The manifest names the files that belong together and the checksum of each;
    it is written last, under another name first, so that whatever is named is whole after a crash at any point.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.written: dict[str, str] = {}  # checksums of files that are on the disk
        self.saved: tuple[int, Sequence[str]] | None = None  # generation and parts of the manifest

    def current(self, snapshot: Snapshot) -> tuple[int, Sequence[str]] | None:
        """What a manifest of this snapshot would be about; None where nothing is worth a file."""
        index = snapshot.index
        names = [part.name for _, part in index.parts()] if isinstance(index, Layered) else []
        return (snapshot.generation, names) if names else None

    def behind(self, snapshot: Snapshot) -> bool:
        """Whether parts of the snapshot are not there; what else the files lack is soon read from the record."""
        current = self.current(snapshot)
        return (current and current[1]) != (self.saved and self.saved[1])

    def save(self, snapshot: Snapshot) -> None:
        """Bring the folder up to the snapshot; raises OSError."""
        current, index = self.current(snapshot), snapshot.index
        if current == self.saved:
            return
        if current is None or not isinstance(index, Layered):
            self.clear()
            return
        self.folder.mkdir(parents=True, exist_ok=True)
        arrays = {"counts": snapshot.counts, "live": runs(snapshot.rows[snapshot.live])}
        named = []
        for start, part in index.parts():
            file = f"{part.name}.faiss"
            if file not in self.written:
                self.put(file, part.write)
            arrays[part.name] = runs(snapshot.rows[start : start + len(part)])
            named.append({"name": part.name, "header": part.header(), "checksum": self.written[file]})
        state = f"state-{uuid.uuid4().hex}.npz"
        self.put(state, lambda file: saved(file, arrays))
        manifest = {
            "layout": LAYOUT,
            "fingerprint": snapshot.fingerprint,
            "dimensions": snapshot.dimensions,
            "generation": snapshot.generation,
            "state": {"name": state, "checksum": self.written[state]},
            "parts": named,
        }
        text = json.dumps(manifest).encode()
        self.put(MANIFEST, lambda file: write_bytes(file, digest(text).encode() + b"\n" + text))
        self.saved = current
        self.sweep({MANIFEST, state, *(f"{each['name']}.faiss" for each in named)})

    def put(self, name: str, write: Callable[[Path], None]) -> None:
        """A file that is on the disk whole, or not there under its name."""
        file, temporary = self.folder / name, self.folder / f"{name}.tmp"
        write(temporary)
        self.written[name] = checksum(temporary)
        sync(temporary)
        temporary.replace(file)
        sync(self.folder)

    def sweep(self, kept: set[str]) -> None:
        """Remove what no manifest names any more."""
        for file in self.folder.iterdir():
            if file.name not in kept:
                file.unlink()
                self.written.pop(file.name, None)

    def clear(self) -> None:
        """Remove everything, the manifest first."""
        if self.folder.exists():
            with contextlib.suppress(FileNotFoundError):
                (self.folder / MANIFEST).unlink()
            self.sweep(set())
        self.saved = None

    def load(self, backend: LayeredBackend, collection: Collection) -> Restored | None:
        """What was saved of the collection, if it can be trusted; says in the log what cannot."""
        if not (self.folder / MANIFEST).exists():
            return None
        try:
            manifest = self.manifest(collection)
            file = self.checked(manifest["state"]["name"], manifest["state"]["checksum"])
            with np.load(file, allow_pickle=False) as arrays:
                held = {name: arrays[name] for name in arrays.files}
            parts = [part for each in manifest["parts"] if (part := self.part(backend, each, held))]
        except FAULTS as fault:
            log.warning(
                "dense index rebuilt from the record", collection=collection.key.collection, why=str(fault)
            )
            return None
        if len(parts) == len(manifest["parts"]):
            self.saved = (manifest["generation"], [part.name for _, part in parts])
        return Restored(parts, spread(held["live"]), held["counts"])

    def manifest(self, collection: Collection) -> dict[str, Any]:
        """The manifest, if it is whole and about this collection as it is; raises ValueError, KeyError."""
        first, _, text = (self.folder / MANIFEST).read_bytes().partition(b"\n")
        if digest(text).encode() != first:
            raise ValueError("the manifest is not what was written")
        manifest: dict[str, Any] = json.loads(text)
        if manifest["layout"] != LAYOUT:
            raise ValueError(f"its layout is {manifest['layout']}, not {LAYOUT}")
        if (manifest["fingerprint"], manifest["dimensions"]) != (collection.fingerprint, collection.dimensions):
            raise ValueError(f"its vectors are of the embedder {manifest['fingerprint']!r}")
        if manifest["generation"] > collection.generation:
            raise ValueError("it is newer than the record")
        return manifest

    def part(
        self, backend: LayeredBackend, named: dict[str, Any], held: dict[str, Rows]
    ) -> tuple[Rows, Sealed] | None:
        """A part and its rows; None, logged, where its file is not whole: the others can still be used."""
        try:
            file = self.checked(f"{named['name']}.faiss", named["checksum"])
            part = backend.read(file, named["name"], named["header"])
            rows = spread(held[named["name"]])
            if len(rows) != len(part):
                raise ValueError(f"{file.name} has {len(part)} vectors for {len(rows)} rows")
        except FAULTS as fault:
            log.warning("part of a dense index rebuilt from the record", part=named["name"], why=str(fault))
            return None
        return rows, part

    def checked(self, name: str, expected: str) -> Path:
        """The file of that name; raises OSError, ValueError unless it is what was written."""
        file = self.folder / name
        if checksum(file) != expected:
            raise ValueError(f"{name} is not what was written")
        self.written[name] = expected
        return file


def saved(file: Path, arrays: dict[str, Any]) -> None:
    """Write arrays under their names."""
    with file.open("wb") as stream:
        np.savez(stream, **arrays)


def write_bytes(file: Path, content: bytes) -> None:
    """Write a small file."""
    file.write_bytes(content)


def digest(content: bytes) -> str:
    """BLAKE2b, 128 bits."""
    return hashlib.blake2b(content, digest_size=16).hexdigest()


def checksum(file: Path) -> str:
    """The same over a file of any size."""
    total = hashlib.blake2b(digest_size=16)
    with file.open("rb") as stream:
        while block := stream.read(READ_BYTES):
            total.update(block)
    return total.hexdigest()


def sync(path: Path) -> None:
    """Return when the disk has a file, or a folder's names."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
