"""The arithmetic of late interaction: query token vectors in float against passage tokens of one bit a dimension.

MaxSim is of Khattab and Zaharia, "ColBERT" (SIGIR 2020). Only numpy is used, and memory stays bounded: sign bits
are unpacked block by block.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float32]
Bits = npt.NDArray[np.uint8]

EMPTY = -1.0  # what a passage without tokens gets: the least that a cosine can be
BLOCK_TOKENS = 1024  # 1.5 MB as float32 at 384 dimensions: a block stays in the second-level cache


def unpack(bits: Bits, dimensions: int) -> Floats:
    """Zeros and ones, (tokens, dimensions) float32, of packed bits (tokens, dimensions / 8)."""
    return np.unpackbits(bits, axis=1, count=dimensions).astype(np.float32)


def similarities(query: Floats, bits: Bits) -> Floats:
    """Cosine of each query token with each token's signs.

    ``query`` is (n, dimensions), rows of unit length; ``bits`` (t, dimensions / 8); gives (n, t) float32.
    The signs are 2b - 1, so that q.(2b - 1) = 2 q.b - sum(q): bits are multiplied as zeros and ones.
    """
    dimensions = query.shape[1]
    product: Floats = query @ unpack(bits, dimensions).T
    product *= 2
    product -= query.sum(axis=1, keepdims=True)
    product /= np.float32(np.sqrt(dimensions))
    return product


def blocks(lengths: Sequence[int], block_tokens: int) -> Iterator[tuple[int, int]]:
    """Ranges of passages that hold at most ``block_tokens`` tokens together, or one longer passage alone."""
    start = tokens = 0
    for at, length in enumerate(lengths):
        if tokens and tokens + length > block_tokens:
            yield start, at
            start, tokens = at, 0
        tokens += length
    if start < len(lengths):
        yield start, len(lengths)


def best(query: Floats, passages: Sequence[Bits], block_tokens: int = BLOCK_TOKENS) -> Floats:
    """The best similarity of each query token in each passage: (n, passages) float32.

    A passage without tokens gets -1. Temporary memory is about ``block_tokens`` x (5 x dimensions + 4 x n)
    bytes, or that of the longest passage if it is longer.
    """
    out = np.full((len(query), len(passages)), EMPTY, dtype=np.float32)
    held = [at for at, bits in enumerate(passages) if len(bits)]
    lengths = [len(passages[at]) for at in held]
    for start, end in blocks(lengths, block_tokens):
        joined = np.concatenate([passages[at] for at in held[start:end]])
        firsts = np.concatenate(([0], np.cumsum(lengths[start:end])[:-1]))
        out[:, held[start:end]] = np.maximum.reduceat(similarities(query, joined), firsts, axis=1)
    return out
