"""Puts a collection's dense index together at the start: what the files hold, and the rest from the record."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np

from services.retriever.dense import Dense, DenseBackend, LayeredBackend, Mask, Sealed
from services.retriever.stores import Rows, Vectors
from services.retriever.stores._streams import Streams


class Layers:
    """Puts an index together from parts on the disk and, for what is in none of them, the record."""

    def __init__(self, dense: DenseBackend, streams: Streams, dimensions: int, rows: Rows) -> None:
        self.dense = dense
        self.streams = streams
        self.dimensions = dimensions
        self.wanted = rows
        self.rows: list[Rows] = [rows[:0]]

    def index(self, parts: Sequence[tuple[Rows, Sealed]]) -> tuple[Dense, Rows]:
        """The index and the row of each of its slots, ascending."""
        items = self.items(parts)
        if isinstance(self.dense, LayeredBackend):
            made: Dense = self.dense.joined(self.dimensions, items)
        else:
            made = self.dense.empty(self.dimensions)
            for item in items:
                made = made.added(item) if isinstance(item, np.ndarray) else made
        return made, np.concatenate(self.rows)

    def items(self, parts: Sequence[tuple[Rows, Sealed]]) -> Iterator[Sealed | Vectors]:
        """Parts and blocks of vectors in the order of their rows; ``rows`` grows with them."""
        at = 0
        for rows, part in sorted(parts, key=lambda pair: int(pair[0][0])):
            start, stop = np.searchsorted(self.wanted, [rows[0], rows[-1] + 1])
            living = self.wanted[start:stop]
            if start < at or not len(living) or not within(living, rows).all():
                continue  # it holds nothing any more, or is of another history: the record has what lives
            yield from self.blocks(self.wanted[at:start])
            self.rows.append(rows)
            yield part
            at = int(stop)
        yield from self.blocks(self.wanted[at:])

    def blocks(self, rows: Rows) -> Iterator[Vectors]:
        """The vectors of ``rows`` from the record."""
        for found, vectors in self.streams.vectors(rows, self.dimensions):
            if len(found):
                self.rows.append(found)
                yield vectors


def within(some: Rows, rows: Rows) -> Mask:
    """Which of ``some`` are among ``rows``; both ascend."""
    if not len(rows):
        return np.zeros(len(some), dtype=np.bool_)
    found: Mask = rows[np.minimum(np.searchsorted(rows, some), len(rows) - 1)] == some
    return found
