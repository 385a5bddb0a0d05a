"""The arithmetic of late interaction: query token vectors in float against passage tokens of one bit a dimension.

MaxSim is of Khattab and Zaharia, "ColBERT" (SIGIR 2020). Only numpy is used, and memory stays bounded: sign bits
are unpacked block by block.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float32]
Bits = npt.NDArray[np.uint8]
Ints = npt.NDArray[np.int64]

EMPTY = -1.0  # what a passage without tokens gets: the least that a cosine can be
BLOCK_TOKENS = 1024  # 1.5 MB as float32 at 384 dimensions: a block stays in the second-level cache
SMALLEST_WEIGHT = 0.25  # a query token in every passage still says a little: "who", "where"


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


def idf(ids: Sequence[int], passages: int, frequencies: Mapping[int, int]) -> Floats:
    """ln(1 + N / (1 + df)) of each word piece, float32; one that ``frequencies`` lacks is in no passage."""
    counts = np.array([frequencies.get(piece, 0) for piece in ids], dtype=np.float64)
    return np.log1p(passages / (1.0 + counts)).astype(np.float32)


def weights(rarity: Floats | None, words: npt.NDArray[np.bool_]) -> Floats:
    """How much each query token counts, (n,) float32: idf / max idf + 0.25.

    ``rarity`` is the idf, or None where nothing is known of the collection: all count the same. Pieces that
    are no word (``words`` false: no letter, no digit) count nothing, unless there are no others.
    """
    if not words.any():
        return np.ones(len(words), dtype=np.float32)
    most = 0.0 if rarity is None else float(rarity[words].max())
    if rarity is None or most <= 0.0:
        return words.astype(np.float32)
    return np.where(words, rarity / most + SMALLEST_WEIGHT, 0.0).astype(np.float32)


def maxsim(query: Floats, weight: Floats, passages: Sequence[Bits]) -> Floats:
    """The weighted mean over the query's tokens of their best similarity: (passages,) float32 in [-1, 1].

    A query without tokens is as near to every passage: all 0.
    """
    if not len(query):
        return np.zeros(len(passages), dtype=np.float32)
    scores: Floats = (weight @ best(query, passages)) / weight.sum()
    return scores


def fused(dense: Sequence[float | None], sparse: Sequence[float | None]) -> Floats:
    """What hybrid search thought of the candidates: 0.5 sparse / max sparse + 0.5 min-max dense, in [0, 1].

    None stands for a candidate that this half of the search did not return: it gets that half's least, 0.
    A half that returned nothing, or the same for all, says nothing and adds 0.
    """
    return (0.5 * shares(sparse) + 0.5 * spread(dense)).astype(np.float32)


def shares(scores: Sequence[float | None]) -> Floats:
    """Each score divided by the greatest; 0 for None and for what is below 0."""
    filled = np.array([0.0 if score is None else max(score, 0.0) for score in scores], dtype=np.float32)
    most = filled.max(initial=0.0)
    return filled / most if most > 0 else filled


def spread(scores: Sequence[float | None]) -> Floats:
    """Each score's place between the least (0) and the greatest (1); 0 for None."""
    given = [score for score in scores if score is not None]
    if not given or max(given) <= min(given):
        return np.zeros(len(scores), dtype=np.float32)
    least, width = min(given), max(given) - min(given)
    return np.array([0.0 if s is None else (s - least) / width for s in scores], dtype=np.float32)


def hybrid_weight(pieces: int, least: float = 0.1) -> float:
    """How much ``fused`` counts beside MaxSim: more for longer queries, which token matching serves less well.

    ``pieces`` is the number of the query's word pieces; ``least`` the weight up to 12 of them;
    from 48 on it is four times that.
    """
    return least * min(max(pieces / 12, 1.0), 4.0)
