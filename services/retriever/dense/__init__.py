"""Dense search: vectors by slot, in values that never change, so that readers need no lock."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

Vectors = NDArray[np.float32]
Slots = NDArray[np.int64]
Mask = NDArray[np.bool_]


@dataclass(frozen=True)
class Parts:
    """What a dense back end is handed: the threads it may use for a batch of queries."""

    threads: int


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


class DenseBackend(Protocol):
    """Makes empty indexes."""

    def empty(self, dimensions: int) -> Dense:
        """An index without vectors."""
        ...
