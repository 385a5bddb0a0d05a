"""Sparse search: an inverted index a collection, derived from the record and rebuilt whenever in doubt."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

Rows = NDArray[np.int64]
Scores = NDArray[np.float32]


class Damaged(Exception):
    """The index cannot be opened, read or written; the record can rebuild it."""


@dataclass(frozen=True)
class Parts:
    """What a sparse back end is handed: the threads it may use when it builds an index anew."""

    threads: int


@dataclass(frozen=True, slots=True)
class Entry:
    """A passage as it is indexed; ``row`` is its row in the record, never used twice."""

    row: int
    title: str
    section: str
    text: str


class Searcher(Protocol):
    """An immutable view of an index, as it was at one commit."""

    def search(self, query: str, depth: int, only: Rows | None = None) -> tuple[Rows, Scores]:
        """The rows that match best and their BM25 scores, best first, ties by row.

        ``query`` is text as a person wrote it, never a query language, but for "quoted phrases": a row must hold
        them all, unless none in the index does. ``only`` limits the search to these rows. Raises Damaged.
        """
        ...

    def rows(self) -> Rows:
        """Every row in the index, ascending, one that is there twice named twice; raises Damaged."""
        ...


class Sparse(Protocol):
    """A collection's index; one thread writes, any thread searches what ``searcher`` gave."""

    def apply(self, removed: Iterable[int], added: Iterable[Entry]) -> None:
        """Take rows out, then put entries in, durably and in one step; raises Damaged.

        A row that may be there already is named in ``removed`` too.
        """
        ...

    def searcher(self) -> Searcher:
        """The index as the last ``apply`` left it."""
        ...

    def rows(self) -> Rows:
        """Every row in the index, ascending."""
        ...

    def close(self) -> None:
        """Let go of files and threads."""
        ...


class SparseBackend(Protocol):
    """Opens and builds indexes."""

    version: str  # of the analysis and the layout: an index of another version is rebuilt

    def open(self, folder: Path) -> Sparse:
        """The index in ``folder``; raises Damaged where there is none that can be trusted."""
        ...

    def build(self, folder: Path, batches: Iterable[Sequence[Entry]]) -> Sparse:
        """A new index in ``folder``, in place of whatever is there."""
        ...
