"""Fewer dimensions by a fixed rotation: the same on every machine, with nothing fitted to any collection.

Four rounds of signs and Walsh-Hadamard transforms over a power of two of the dimensions, at the start and at the
end in turn: Ailon and Chazelle, "The fast Johnson-Lindenstrauss transform" (SIAM J. Comput. 2009), in the form of
the RaBitQ library (Gao et al., SIGMOD 2025). Only additions in a fixed order and one multiplication a round: a QR
decomposition of random numbers would differ from one linear algebra library to the next.
"""

from __future__ import annotations

import functools
import hashlib

import numpy as np
from numpy.typing import NDArray

SEED = "ragline token vectors 1"
ROUNDS = 4


@functools.lru_cache(maxsize=8)
def projection(width: int, dimensions: int) -> NDArray[np.float32]:
    """(width, dimensions) float32 with orthonormal columns: ``vectors @ projection`` keeps angles, about.

    Raises ValueError unless 0 < dimensions <= width.
    """
    if not 0 < dimensions <= width:
        raise ValueError(f"{width} dimensions cannot be projected to {dimensions}")
    rows = np.eye(width)
    size = 1 << (width.bit_length() - 1)
    for number in range(ROUNDS):
        rows *= signs(width, number)
        part = rows[:, :size] if number % 2 == 0 else rows[:, width - size :]
        part[:] = hadamard(part)
    made = np.ascontiguousarray(rows[:, :dimensions], dtype=np.float32)
    made.flags.writeable = False
    return made


def signs(width: int, number: int) -> NDArray[np.float64]:
    """The signs of a round, from a hash: no generator of random numbers promises to stay as it is."""
    drawn = hashlib.shake_256(f"{SEED} {width} {number}".encode()).digest((width + 7) // 8)
    bits = np.unpackbits(np.frombuffer(drawn, np.uint8), count=width)
    return np.where(bits, -1.0, 1.0)


def hadamard(rows: NDArray[np.float64]) -> NDArray[np.float64]:
    """Each row's Walsh-Hadamard transform, of unit length where the row was; (n, a power of two)."""
    count, size = rows.shape
    step = 1
    while step < size:
        pairs = rows.reshape(count, -1, 2, step)
        rows = np.stack([pairs[:, :, 0] + pairs[:, :, 1], pairs[:, :, 0] - pairs[:, :, 1]], axis=2)
        rows = rows.reshape(count, size)
        step *= 2
    rows /= np.sqrt(size)
    return rows
