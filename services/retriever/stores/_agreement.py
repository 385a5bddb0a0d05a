"""Holds a collection's indexes against the record, at the generation that searches see."""

from __future__ import annotations

import json
import re
import sqlite3
from collections.abc import Iterator
from itertools import islice
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ragline.v1.retriever_pb2 import Finding
from services.retriever.sparse import Damaged, SparseBackend
from services.retriever.stores import Key, Rows
from services.retriever.stores._audit import finding
from services.retriever.stores._files import FAULTS, MANIFEST, Files, digest
from services.retriever.stores._reader import BATCH_ROWS
from services.retriever.stores._snapshot import Snapshot, counted

SAMPLE = 64  # passages whose own words must find them
WORD = re.compile(r"[A-Za-z]{4,40}")
WORDS = 8
LEAST_COSINE = 0.999  # of a stored vector with what the index made of it: eight bits a number leave 0.9999
OPENED = 3  # times that files which change while they are read are looked at

ROWS = (
    "SELECT first_row, passages FROM documents WHERE collection = ?1 AND generation <= ?2 "
    "AND (died IS NULL OR died > ?2) ORDER BY first_row"
)
VECTORS = "SELECT row, vector, token_ids FROM vectors WHERE collection = ? ORDER BY row"

Batch = tuple[Rows, list[bytes], list[bytes]]


def disagreements(db: sqlite3.Connection, key: Key, snapshot: Snapshot) -> Iterator[Finding]:
    """What the indexes in memory hold otherwise than the record, which ``db`` began to read after the snapshot.

    While the snapshot is held, no row that it knows is purged.
    """
    rows = rows_at(db, snapshot)
    held = snapshot.rows[snapshot.live]
    yield from compared(key, "dense", "the index of vectors", rows, held)
    off, counts = 0, np.empty(0, dtype=np.int32)
    for known, vectors, token_ids in batches(db, snapshot.collection, rows):
        counts = counted(counts, token_ids, [])
        off += unlike(snapshot, known, vectors)
    if off:
        yield finding("dense", f"{off} vectors are not those of the record", off, key)
    size = max(len(counts), len(snapshot.counts))
    wrong = int(np.count_nonzero(padded(counts, size) != padded(snapshot.counts, size)))
    if wrong:
        yield finding("statistics", f"{wrong} word pieces are counted wrongly", wrong, key)
    if snapshot.searcher is None:
        yield finding("sparse", "the index of words is lost", len(rows), key)
        return
    try:
        yield from compared(key, "sparse", "the index of words", rows, snapshot.searcher.rows())
        yield from unfound(key, snapshot, rows)
    except Damaged as fault:
        yield finding("sparse", f"the index of words is damaged ({fault})", 1, key)


def rows_at(db: sqlite3.Connection, snapshot: Snapshot) -> Rows:
    """The rows that the record has for the snapshot's generation, ascending."""
    found = db.execute(ROWS, (snapshot.collection, snapshot.generation))
    ranges = [np.arange(first, first + count, dtype=np.int64) for first, count in found]
    return np.concatenate([np.empty(0, dtype=np.int64), *ranges])


def batches(db: sqlite3.Connection, collection: int, rows: Rows) -> Iterator[Batch]:
    """Those of ``rows`` that have vectors, with their vectors and word pieces as stored."""
    found = db.execute(VECTORS, (collection,))
    while batch := found.fetchmany(BATCH_ROWS):
        known = np.array([row for row, _, _ in batch], dtype=np.int64)
        kept = np.isin(known, rows, assume_unique=True)
        chosen = [each for each, keep in zip(batch, kept, strict=True) if keep]
        yield known[kept], [vector for _, vector, _ in chosen], [ids for _, _, ids in chosen]


def unlike(snapshot: Snapshot, rows: Rows, vectors: list[bytes]) -> int:
    """How many of the vectors the index holds otherwise than they are stored; rows that it lacks do not count."""
    slots = np.searchsorted(snapshot.rows, rows)
    there = np.zeros(len(rows), dtype=np.bool_)
    inside = slots < len(snapshot.rows)
    there[inside] = snapshot.rows[slots[inside]] == rows[inside]
    size = 4 * snapshot.dimensions
    usable = there & np.array([len(vector) == size for vector in vectors], dtype=np.bool_)
    stored = b"".join([vector for vector, use in zip(vectors, usable, strict=True) if use])
    wanted = np.frombuffer(stored, dtype="<f4").reshape(-1, snapshot.dimensions)
    made = snapshot.index.vectors(slots[usable])
    lengths = np.linalg.norm(wanted, axis=1) * np.linalg.norm(made, axis=1)
    products = np.einsum("ij,ij->i", wanted, made)
    same = np.where(lengths > 0, products >= LEAST_COSINE * lengths, np.isclose(wanted, made).all(axis=1))
    return int(np.count_nonzero(~same))


def compared(key: Key, part: str, name: str, rows: Rows, held: Rows) -> Iterator[Finding]:
    """Passages that an index lacks, has too many or has twice."""
    lacking = len(np.setdiff1d(rows, held))
    foreign = len(np.setdiff1d(held, rows))
    twice = len(held) - len(np.unique(held))
    for count, what in (
        (lacking, f"{name} lacks {lacking} passages"),
        (foreign, f"{name} holds {foreign} passages that the record does not"),
        (twice, f"{name} holds {twice} passages more than once"),
    ):
        if count:
            yield finding(part, what, count, key)


def unfound(key: Key, snapshot: Snapshot, rows: Rows) -> Iterator[Finding]:
    """Passages, of a sample, that their own words do not find."""
    assert snapshot.searcher is not None  # noqa: S101 - the caller has looked
    sample = rows[np.unique(np.linspace(0, len(rows) - 1, SAMPLE).astype(np.int64))] if len(rows) else rows
    lost = 0
    for row, passage in snapshot.fetch(sample.tolist()).items():
        words = " ".join(match[0] for match in islice(WORD.finditer(passage.text), WORDS))
        if words:
            lost += not len(snapshot.searcher.search(words, 1, np.array([row], dtype=np.int64))[0])
    if lost:
        yield finding("sparse", f"{lost} of {len(sample)} passages are not found by their own words", lost, key)


def damaged_files(key: Key, backend: SparseBackend, folder: Path) -> Iterator[Finding]:
    """Whether the files on the disk are what was written; those that a write replaces meanwhile do not count."""
    fault: Damaged | None = None
    for _ in range(OPENED):
        try:
            backend.open(folder).close()
        except Damaged as error:
            fault = error
        else:
            return
    yield finding("sparse", f"the files of the index of words are damaged ({fault})", 1, key)


def damaged_vectors(key: Key, folder: Path) -> Iterator[Finding]:
    """Whether the files of vectors are what was written; those that are replaced meanwhile do not count."""
    fault: Exception | None = None
    for _ in range(OPENED):
        try:
            first, _, text = (folder / MANIFEST).read_bytes().partition(b"\n")
            if digest(text).encode() != first:
                raise ValueError("the manifest is not what was written")
            manifest, files = json.loads(text), Files(folder)
            files.checked(manifest["state"]["name"], manifest["state"]["checksum"])
            for part in manifest["parts"]:
                files.checked(f"{part['name']}.faiss", part["checksum"])
        except FileNotFoundError as error:
            if not (folder / MANIFEST).exists():
                return  # a small collection has none
            fault = error
        except FAULTS as error:
            fault = error
        else:
            return
    yield finding("dense", f"the files of the index of vectors are damaged ({fault})", 1, key)


def padded(counts: NDArray[np.int32], size: int) -> NDArray[np.int32]:
    """The counts, zeros for word pieces that are in none."""
    return np.pad(counts, (0, size - len(counts)))
