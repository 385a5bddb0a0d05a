"""One embedded text, and its form in the cache."""

from __future__ import annotations

import struct
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

VERSION = 1
HEADER = struct.Struct("<B?xxII")
"""Version, truncated, spare, tokens, distinct word pieces; then the vector as float32, then the ids as uint32."""


@dataclass(frozen=True)
class Row:
    """One text's share of ``embedders.Embedded``."""

    vector: NDArray[np.float32]
    tokens: int
    token_ids: NDArray[np.uint32]
    truncated: bool
    packed: bytes | None = None


def pack_row(row: Row) -> bytes:
    """The row without its packed token vectors, which have an entry of their own."""
    head = HEADER.pack(VERSION, row.truncated, row.tokens, len(row.token_ids))
    return head + row.vector.astype("<f4").tobytes() + row.token_ids.astype("<u4").tobytes()


def unpack_row(data: bytes, dimensions: int) -> Row | None:
    """The row; None, a miss, for bytes of another version or length."""
    if len(data) < HEADER.size or data[0] != VERSION:
        return None
    _, truncated, tokens, count = HEADER.unpack_from(data)
    if len(data) != HEADER.size + 4 * (dimensions + count):
        return None
    vector = np.frombuffer(data, "<f4", dimensions, HEADER.size)
    return Row(vector, tokens, np.frombuffer(data, "<u4", count, HEADER.size + 4 * dimensions), truncated)
