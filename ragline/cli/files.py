"""Which files ``ragline ingest`` sends, by what name, and in which groups."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from ragline.cli.client import Failure

SUFFIXES = frozenset(
    ".md .markdown .txt .text .rst .html .htm .pdf .docx .json .jsonl .ndjson .csv .tsv".split()  # noqa: SIM905
)
BATCH_FILES = 32
BATCH_BYTES = 16_000_000


@dataclass(frozen=True)
class File:
    """A file to send; ``id`` is its path as the collection knows it."""

    path: Path
    id: str


def find(paths: Iterable[Path]) -> list[File]:
    """The files at ``paths``; folders are searched for suffixes that are known, hidden ones left out."""
    found: dict[str, File] = {}
    for path in paths:
        if not path.exists():
            raise Failure(f"{path} does not exist.")
        for file in walk(path) if path.is_dir() else [path]:
            name = document_id(file)
            found[name] = File(file, name)
    return list(found.values())


def walk(folder: Path) -> Iterator[Path]:
    """The readable kinds of files below ``folder``, in a stable order."""
    for path in sorted(folder.rglob("*")):
        hidden = any(part.startswith(".") for part in path.relative_to(folder).parts)
        if path.is_file() and path.suffix.lower() in SUFFIXES and not hidden:
            yield path


def document_id(path: Path) -> str:
    """The path below the current folder, or the whole path, with slashes and without a leading one."""
    whole = path.resolve()
    here = Path.cwd()
    name = (whole.relative_to(here) if whole.is_relative_to(here) else whole).as_posix().lstrip("/")
    return os.fsencode(name).decode(errors="replace")  # a name on disk need not be text


def sha256(path: Path) -> str:
    """The file's hash, in hex."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def batches(files: Sequence[File]) -> Iterator[list[File]]:
    """Groups small enough for one request each."""
    batch: list[File] = []
    size = 0
    for file in files:
        length = file.path.stat().st_size if file.path.exists() else 0
        if batch and (len(batch) == BATCH_FILES or size + length > BATCH_BYTES):
            yield batch
            batch, size = [], 0
        batch.append(file)
        size += length
    if batch:
        yield batch
