"""Dense search: vectors by slot, in values that never change, so that readers need no lock."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

Vectors = NDArray[np.float32]
Slots = NDArray[np.int64]
Mask = NDArray[np.bool_]


@dataclass(frozen=True)
class Parts:
    """What a dense back end is handed: the threads it may use for a batch of queries."""

    threads: int


@dataclass(frozen=True)
class State:
    """How an index searches: its largest tier (exact, sq8, hnsw), recall@10 if measured, bytes of memory."""

    tier: str
    recall: float | None
    bytes: int


class Dense(Protocol):
    """An immutable index; slot ``i`` is the i-th vector that it holds. A change gives a new index."""

    def __len__(self) -> int:
        """How many slots there are, dead ones included."""
        ...

    def added(self, vectors: Vectors) -> Dense:
        """An index with ``vectors`` (n, dimensions) in the next ``n`` slots."""
        ...

    def compacted(self, live: Mask) -> tuple[Dense, Mask]:
        """An index with dead slots dropped where that pays, and which slots (n,) it kept, in order."""
        ...

    def search(self, queries: Vectors, depth: int, allowed: Mask | None) -> list[tuple[Slots, Vectors]]:
        """The best slots of each query, best first, and their inner products.

        ``queries`` is (q, dimensions), ``allowed`` is (slots,) or None for all. At most ``depth`` a query;
        fewer only where fewer are allowed.
        """
        ...

    def vectors(self, slots: Slots) -> Vectors:
        """The vectors (n, dimensions) in ``slots`` (n,)."""
        ...

    def products(self, slots: Slots, query: Vectors) -> Vectors:
        """The inner products (n,) of ``query`` (dimensions,) with the vectors in ``slots`` (n,)."""
        ...


class DenseBackend(Protocol):
    """Makes empty indexes."""

    def empty(self, dimensions: int) -> Dense:
        """An index without vectors."""
        ...


class Sealed(Protocol):
    """A part of an index that never changes and is worth a file."""

    @property
    def name(self) -> str:
        """Of its file: letters and digits, never given twice."""
        ...

    def __len__(self) -> int:
        """How many slots it has."""
        ...

    def header(self) -> dict[str, object]:
        """What ``DenseFiles.read`` has to know beside the file, as JSON takes it."""
        ...

    def write(self, file: Path) -> None:
        """Write it; raises OSError."""
        ...


@dataclass(frozen=True)
class Job:
    """Work that pays: slots ``start`` to ``stop`` made one part, searched by ``kind``."""

    start: int
    stop: int
    kind: str


@runtime_checkable
class Layered(Dense, Protocol):
    """An index of parts, some of which are built beside it and put in its place when they are done."""

    def state(self) -> State:
        """How it searches as it is."""
        ...

    def parts(self) -> Sequence[tuple[int, Sealed]]:
        """Its sealed parts and the first slot of each, in order."""
        ...

    def job(self, live: Mask, quiet: bool) -> Job | None:
        """What should be built next; ``quiet``: nothing was written for a while, so that it may be more."""
        ...

    def replaced(self, start: int, stop: int, part: Sealed | None) -> Layered:
        """The index with ``part``, or nothing, in place of these slots; raises ValueError if that cannot be."""
        ...


# Vectors by row number: numbers (n,), ascending, in; numbers and vectors (n, dimensions) out, in blocks and in
# order, without those that are gone.
Read = Callable[[Slots], Iterator[tuple[Slots, Vectors]]]


class Stopped(Exception):
    """The service stops: what was being built is given up."""


@runtime_checkable
class LayeredBackend(DenseBackend, Protocol):
    """A back end whose indexes are ``Layered``."""

    settle_s: float  # without a write, from which a collection counts as quiet

    def build(
        self, kind: str, dimensions: int, rows: Slots, read: Read, stopping: Callable[[], bool]
    ) -> tuple[Sealed, Slots]:
        """A part over the vectors of ``rows`` and which rows it holds, in order; raises Stopped."""
        ...

    def read(self, file: Path, name: str, header: dict[str, object]) -> Sealed:
        """The part that was written to ``file``; raises ValueError, KeyError or RuntimeError where it is none."""
        ...

    def joined(self, dimensions: int, parts: Iterator[Sealed | Vectors]) -> Layered:
        """An index of these parts and blocks of vectors, in order."""
        ...
