"""Passages, queries and their vectors as files: one folder that every engine and peer reads, of any size."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

BLOCK = 8192  # rows of a matrix product
DEPTH = 100

Vectors = NDArray[np.float32]
Rows = NDArray[np.int64]


@dataclass(frozen=True)
class Block:
    """Passages that follow each other: (title, text) and a vector each."""

    texts: Sequence[tuple[str, str]]
    vectors: Vectors


@dataclass(frozen=True)
class Corpus:
    """What lies in ``folder``; nothing but numpy is needed to read it, and vectors stay on the disk."""

    folder: Path

    @cached_property
    def about(self) -> dict[str, Any]:
        """Where it came from: ``origin``, ``passages``, ``real`` (how many are no mixtures)."""
        found: dict[str, Any] = json.loads((self.folder / "about.json").read_text())
        return found

    @cached_property
    def vectors(self) -> Vectors:
        """(passages, dimensions), of length one."""
        found: Vectors = np.load(self.folder / "vectors.npy", mmap_mode="r")
        return found

    @cached_property
    def query_vectors(self) -> Vectors:
        """(queries, dimensions), of length one."""
        found: Vectors = np.load(self.folder / "query_vectors.npy")
        return found

    @cached_property
    def nearest(self) -> Rows:
        """(queries, 100): the exactly nearest passages, best first."""
        found: Rows = np.load(self.folder / "nearest.npy")
        return found

    @cached_property
    def queries(self) -> list[str]:
        """The texts of the queries."""
        return [row["text"] for row in rows(self.folder / "queries.jsonl")]

    @cached_property
    def grades(self) -> list[dict[int, int]]:
        """Of each query: the judged passages by number."""
        return [{int(n): g for n, g in row["grades"].items()} for row in rows(self.folder / "queries.jsonl")]

    def texts(self) -> Iterator[tuple[str, str]]:
        """(title, text) of each passage, read as it is asked for."""
        for row in rows(self.folder / "passages.jsonl"):
            yield row[0], row[1]

    def wholes(self) -> Iterator[str]:
        """What was embedded of each passage: the title above the text."""
        for title, text in self.texts():
            yield f"{title}\n{text}" if title else text


def rows(file: Path) -> Iterator[Any]:
    """The lines of a JSONL file."""
    with file.open(encoding="utf-8") as lines:
        for line in lines:
            yield json.loads(line)


def write(
    folder: Path,
    about: dict[str, Any],
    blocks: Iterable[Block],
    questions: Sequence[tuple[str, dict[int, int]]],
    query_vectors: Vectors,
) -> Corpus:
    """Put a corpus into ``folder``, whole or not at all."""
    half = folder.with_suffix(".half")
    shutil.rmtree(half, ignore_errors=True)
    half.mkdir(parents=True)
    shape = (about["passages"], query_vectors.shape[1])
    vectors = np.lib.format.open_memmap(half / "vectors.npy", "w+", dtype=np.float32, shape=shape)
    at = 0
    with (half / "passages.jsonl").open("w", encoding="utf-8") as out:
        for block in blocks:
            out.writelines(json.dumps(pair, ensure_ascii=False) + "\n" for pair in block.texts)
            vectors[at : at + len(block.texts)] = block.vectors
            at += len(block.texts)
    vectors.flush()
    with (half / "queries.jsonl").open("w", encoding="utf-8") as out:
        out.writelines(json.dumps({"text": text, "grades": grades}) + "\n" for text, grades in questions)
    np.save(half / "query_vectors.npy", query_vectors)
    np.save(half / "nearest.npy", nearest(vectors, query_vectors, DEPTH))
    (half / "about.json").write_text(json.dumps(about))
    half.rename(folder)
    return Corpus(folder)


def nearest(vectors: Vectors, queries: Vectors, depth: int, allowed: Rows | None = None) -> Rows:
    """The exactly nearest of the vectors, or of those in ``allowed``, to each query: (queries, depth) places."""
    places = np.arange(len(vectors)) if allowed is None else allowed
    depth = min(depth, len(places))
    scores = np.full((len(queries), depth), -np.inf, dtype=np.float32)
    found = np.zeros((len(queries), depth), dtype=np.int64)
    for start in range(0, len(places), BLOCK):
        part = places[start : start + BLOCK]
        every = np.hstack([scores, queries @ np.asarray(vectors[part]).T])
        ids = np.hstack([found, np.broadcast_to(part, (len(queries), len(part)))])
        top = np.argsort(-every, axis=1, kind="stable")[:, :depth]
        scores, found = np.take_along_axis(every, top, axis=1), np.take_along_axis(ids, top, axis=1)
    return found
