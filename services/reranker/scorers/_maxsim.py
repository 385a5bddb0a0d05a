"""The arithmetic of late interaction: query token vectors of seven bits against passage tokens of one to eight.

MaxSim is of Khattab and Zaharia, "ColBERT" (SIGIR 2020). Whole numbers are multiplied, block by block, so that
memory stays bounded.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from ragline.token_vectors import PackedTokens, unfolded
from services.reranker.scorers._product import product

Floats = npt.NDArray[np.float32]

EMPTY = -1.0  # what a passage without tokens gets: the least that a cosine can be
# 8 MB at 384 dimensions and 14 word pieces of a query. Blocks that stay in a core's cache are no faster for one
# request, and much slower for four at once: each call in a block has to win back Python's lock.
BLOCK_TOKENS = 16_384
MOST = 63  # see ``product``


@dataclass(frozen=True, slots=True)
class Whole:
    """Query token vectors as whole numbers: ``numbers`` int8 (dimensions, n) within 63, times ``steps`` (n,)."""

    numbers: npt.NDArray[np.int8]
    steps: Floats


def whole(query: Floats, width: int) -> Whole:
    """``query`` (n, dimensions) with noughts added up to ``width`` dimensions, each row in steps of its own."""
    steps = np.abs(query).max(axis=1, keepdims=True, initial=0.0) / np.float32(MOST)
    steps[steps == 0] = 1
    numbers = np.zeros((width, len(query)), np.int8)
    numbers[: query.shape[1]] = np.rint(query / steps).T
    return Whole(numbers, steps[:, 0])


def similarities(query: Floats, passage: PackedTokens) -> Floats:
    """Cosine of each query token with each of the passage's, in floats: (n, tokens) float32.

    ``query`` is (n, dimensions), rows of unit length.
    """
    bits, dimensions = passage.layout.bits, query.shape[1]
    numbers = unfolded(passage.codes, bits)[:, :dimensions].astype(np.float32) - np.float32((2**bits - 1) / 2)
    cosines: Floats = query @ numbers.T
    cosines *= np.float32(2 / np.sqrt(dimensions)) if passage.factors is None else passage.factors
    return cosines


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


def best(query: Floats, passages: Sequence[PackedTokens], block_tokens: int = BLOCK_TOKENS) -> Floats:
    """The best similarity of each query token in each passage: (n, passages) float32, within about 0.005.

    All passages are of one layout, and ``query`` has its dimensions. A passage without tokens gets -1. Temporary
    memory is about ``block_tokens`` x (dimensions + 8 x n) bytes, or that of the longest passage if it is longer.
    """
    out = np.full((len(passages), len(query)), EMPTY, dtype=np.float32)
    codes = [passage.codes for passage in passages]
    held = [at for at, rows in enumerate(codes) if len(rows)]
    if not held or not len(query):
        return out.T
    layout = passages[held[0]].layout
    asked = whole(query, codes[held[0]].shape[1] * 8 // layout.bits)
    # A code c stands for c - middle, so that q.(c - middle) = q.c - middle x sum(q).
    shift = np.float32((2**layout.bits - 1) / 2) * asked.numbers.sum(axis=0, dtype=np.int32).astype(np.float32)
    lengths = [len(codes[at]) for at in held]
    for start, end in blocks(lengths, block_tokens):
        block = held[start:end]
        firsts = list(itertools.accumulate(lengths[start : end - 1], initial=0))
        sums = product(unfolded(np.concatenate([codes[at] for at in block]), layout.bits), asked.numbers)
        factors = None if layout.bits == 1 else np.concatenate([factors_of(passages[at]) for at in block])
        out[block] = greatest(sums, shift, factors, firsts, layout.dimensions) * asked.steps
    return out.T


def factors_of(passage: PackedTokens) -> Floats:
    """What brings the passage's rows to unit length; of one bit all have the same, which nobody asks for."""
    assert passage.factors is not None  # noqa: S101 - above one bit there always are
    return passage.factors


def greatest(
    sums: npt.NDArray[np.int32], shift: Floats, factors: Floats | None, firsts: Sequence[int], dimensions: int
) -> Floats:
    """The greatest similarity of each passage of a block, in the query's steps: (passages, n) float32.

    ``firsts`` are the rows of ``sums`` at which passages begin; ``factors`` None stands for one bit.
    """
    if factors is None:
        # All tokens of one bit are of one length, so the greatest sum is that of the greatest cosine.
        most: Floats = np.maximum.reduceat(sums, firsts, axis=0).astype(np.float32)
        return (most - shift) * np.float32(2 / np.sqrt(dimensions))
    cosines = (sums.astype(np.float32) - shift) * factors[:, None]
    reduced: Floats = np.maximum.reduceat(cosines, firsts, axis=0)
    return reduced
