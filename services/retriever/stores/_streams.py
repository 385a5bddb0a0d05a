"""Reads a collection's vectors and word pieces out of the record a block at a time, whatever its size."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from services.retriever.stores import Rows, Vectors
from services.retriever.stores._reader import Reader
from services.retriever.stores._snapshot import Frequencies, counted

BLOCK_ROWS = 32_768  # 50 MB of vectors of 384 dimensions
FETCHED_ROWS = 1024  # between which other threads get the interpreter
NAMED_ROWS = 4096  # in one statement
SPREAD = 4  # times as many rows between the first and last wanted one, from which each is named
WORD_BYTES = 4


class Streams:
    """Reads of one collection; any thread may use it."""

    def __init__(self, reader: Reader, collection: int) -> None:
        self.reader = reader
        self.collection = collection

    def vectors(self, rows: Rows, dimensions: int) -> Iterator[tuple[Rows, Vectors]]:
        """The vectors of those of ``rows`` (ascending) that have one of so many dimensions, in order."""
        for start in range(0, len(rows), BLOCK_ROWS):
            wanted = rows[start : start + BLOCK_ROWS]
            held = np.empty(len(wanted), dtype=np.int64)
            vectors = np.empty((len(wanted), dimensions), dtype=np.float32)
            count = 0
            for found in self.columns("vector", wanted):
                good = [(row, blob) for row, blob in found if len(blob) == dimensions * WORD_BYTES]
                part = slice(count, count + len(good))
                held[part] = [row for row, _ in good]
                vectors[part] = np.frombuffer(b"".join([blob for _, blob in good]), dtype="<f4").reshape(
                    len(good), dimensions
                )
                count += len(good)
            yield held[:count], vectors[:count]

    def words(self, rows: Rows) -> Iterator[tuple[int, bytes]]:
        """How many of ``rows`` were found, a block at a time, and their word pieces (little-endian uint32)."""
        for start in range(0, len(rows), BLOCK_ROWS):
            for found in self.columns("token_ids", rows[start : start + BLOCK_ROWS]):
                yield len(found), b"".join([blob for _, blob in found])

    def columns(self, column: str, rows: Rows) -> Iterator[list[tuple[int, bytes]]]:
        """Row and value of each of ``rows`` that is there."""
        db = self.reader.db
        if int(rows[-1] - rows[0]) > SPREAD * len(rows):
            for start in range(0, len(rows), NAMED_ROWS):
                named = rows[start : start + NAMED_ROWS].tolist()
                marks = ", ".join("?" * len(named))
                yield db.execute(
                    f"SELECT row, {column} FROM vectors WHERE row IN ({marks}) ORDER BY row",  # noqa: S608
                    named,
                ).fetchall()
            return
        wanted = set(rows.tolist()) if rows[-1] - rows[0] >= len(rows) else None
        found = db.execute(
            f"SELECT row, {column} FROM vectors WHERE collection = ? AND row BETWEEN ? AND ? ORDER BY row",  # noqa: S608
            (self.collection, int(rows[0]), int(rows[-1])),
        )
        while batch := found.fetchmany(FETCHED_ROWS):
            yield batch if wanted is None else [pair for pair in batch if pair[0] in wanted]

    def counts(self, rows: Rows) -> Frequencies:
        """How many of ``rows`` hold each word piece."""
        counts = np.empty(0, dtype=np.int32)
        for _, blob in self.words(rows):
            counts = counted(counts, [blob], [])
        return counts


def runs(rows: Rows) -> Rows:
    """Ascending rows as first and last (n, 2) of each run without a gap."""
    if not len(rows):
        return np.empty((0, 2), dtype=np.int64)
    ends = np.flatnonzero(np.diff(rows) != 1)
    return np.stack([rows[np.r_[0, ends + 1]], rows[np.r_[ends, len(rows) - 1]]], axis=1)


def spread(ranges: Rows) -> Rows:
    """What ``runs`` was made of: every row from each first to each last one."""
    lengths = ranges[:, 1] - ranges[:, 0] + 1
    offsets = np.arange(int(lengths.sum()), dtype=np.int64) - np.repeat(np.cumsum(lengths) - lengths, lengths)
    rows: Rows = np.repeat(ranges[:, 0], lengths) + offsets
    return rows
