"""Token vectors as kept for late interaction: a few bits a dimension for passages, half floats for queries.

The method is Khattab and Zaharia's (2020, ColBERT), with an encoder that was not trained for it. A key names the
embedder and the text, and the entry itself says its layout: what another setting wrote is found, seen to be of no
use, and overwritten, and whoever deletes the key has deleted all there is of the passage.
"""

from __future__ import annotations

import hashlib
import struct
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ragline.encoder.tokenizer import Tokens
from ragline.rotation import projection

Floats = NDArray[np.float32]
Codes = NDArray[np.uint8]

MAGIC, VERSION = b"TV", 2
HEADER = struct.Struct("<2sBBII")
"""Magic, version, bits a dimension, dimensions, word pieces n. After it: n rows of codes, then n float16 factors
where bits > 1."""
QUERY_MAGIC, QUERY_VERSION = b"TQ", 1
QUERY_HEADER = struct.Struct("<2sBxII")
"""Magic, version, word pieces n, dimensions. After it: n uint32 ids, n x 2 int32 offsets, n bytes for words, and
n x dimensions float16."""

STEPS = {2: 0.9957, 4: 0.3352}
"""Best width of a level for numbers spread normally, in standard deviations (Max, 1960)."""


@dataclass(frozen=True, slots=True)
class Layout:
    """How passages' token vectors are kept: 1, 2, 4 or 8 ``bits`` a dimension, and ``dimensions`` (0: all)."""

    bits: int = 1
    dimensions: int = 0

    def of(self, width: int) -> Layout:
        """The same for vectors of ``width`` dimensions, which has no more than these."""
        return Layout(self.bits, min(self.dimensions or width, width))


@dataclass(frozen=True, slots=True)
class PackedTokens:
    """A passage's kept word pieces.

    ``codes`` is uint8 (n, bytes a vector); ``factors`` float32 (n,) bring a row of whole numbers to unit length,
    None at one bit, where all have the same.
    """

    codes: Codes
    layout: Layout
    factors: Floats | None = None

    def __len__(self) -> int:
        return len(self.codes)

    def part(self, start: int, end: int) -> PackedTokens:
        """The word pieces [start, end), as views."""
        factors = None if self.factors is None else self.factors[start:end]
        return PackedTokens(self.codes[start:end], self.layout, factors)


@dataclass(frozen=True, slots=True)
class QueryTokens:
    """A query's word pieces, without special ones: ``vectors`` (n, dimensions) float32 of unit length.

    ``words`` is true for pieces with a letter or digit; ``offsets`` (n, 2) are [start, end) in the query.
    """

    ids: NDArray[np.int64]
    vectors: Floats
    words: NDArray[np.bool_]
    offsets: NDArray[np.int32]


def digest(text: str) -> str:
    """What a text is known by; a lone surrogate counts as ``?``, which is how it is read."""
    return hashlib.sha256(text.encode("utf-8", "replace")).hexdigest()


def key(fingerprint: str, text: str) -> str:
    """The cache key of a passage's packed token vectors by the encoder with this fingerprint."""
    return f"tv:{fingerprint}:{digest(text)}"


def query_key(fingerprint: str, text: str) -> str:
    """The cache key of a query's token vectors by the encoder with this fingerprint."""
    return f"tq:{fingerprint}:{digest(text)}"


def kept(tokens: Tokens) -> NDArray[np.bool_]:
    """Which word pieces take part: those with a letter or digit, or, where none has, all of the text.

    An empty text has only special ones, and keeps those: nothing is ever without a vector.
    """
    if tokens.words.any():
        return tokens.words
    return ~tokens.special if not tokens.special.all() else tokens.special


def pack(tokens: Tokens, vectors: Floats, layout: Layout = Layout()) -> bytes:
    """A text's token vectors (word pieces, dimensions), special word pieces included in both."""
    layout, mask = layout.of(vectors.shape[1]), kept(tokens)
    if layout.dimensions < vectors.shape[1]:
        vectors = vectors @ projection(vectors.shape[1], layout.dimensions)
    head = HEADER.pack(MAGIC, VERSION, layout.bits, layout.dimensions, np.count_nonzero(mask))
    if layout.bits == 1:
        # The mask comes last, over bytes: to copy rows of floats would take longer than all the rest.
        return head + np.packbits(vectors > 0, axis=1)[mask].tobytes()
    numbers, factors = quantised(vectors[mask], layout.bits)
    return head + folded(numbers, layout.bits).tobytes() + factors.tobytes()


def unpack(data: bytes) -> PackedTokens:
    """What ``pack`` packed, as views of ``data``; ValueError where it is of another version or cut."""
    if len(data) < HEADER.size:
        raise ValueError("packed token vectors are cut")
    magic, version, bits, dimensions, count = HEADER.unpack_from(data)
    if (magic, version) != (MAGIC, VERSION):
        raise ValueError(f"packed token vectors are of version {version}, not {VERSION}")
    width = (dimensions * bits + 7) // 8
    size = count * width
    if len(data) != HEADER.size + size + (2 * count if bits > 1 else 0):
        raise ValueError("packed token vectors are cut")
    codes = np.frombuffer(data, np.uint8, size, HEADER.size).reshape(count, width)
    factors = None
    if bits > 1:
        factors = np.frombuffer(data, "<f2", count, HEADER.size + size).astype(np.float32)
    return PackedTokens(codes, Layout(bits, dimensions), factors)


def quantised(vectors: Floats, bits: int) -> tuple[Codes, NDArray[np.float16]]:
    """Rows in evenly spaced levels, 0 to 2^bits - 1, and 1 / length of what the levels' middles stand for.

    As only the direction of a row counts, its step need not be kept: below 8 bits it is the best one for normally
    spread numbers, at 8 bits that at which the row's largest number just has a level.
    """
    levels = 1 << bits
    if bits == 8:
        step = np.abs(vectors).max(axis=1, keepdims=True, initial=0.0) / np.float32(levels / 2)
    else:
        step = np.sqrt(squares(vectors)[:, None] / vectors.shape[1]) * np.float32(STEPS[bits])
    step[step == 0] = 1
    # In place, as every pass over the numbers costs as much as the arithmetic: cut off, then levelled by the cast.
    scaled = vectors / step
    scaled += np.float32(levels / 2)
    codes = np.clip(scaled, 0, levels - 1, out=scaled).astype(np.uint8)
    np.subtract(codes, np.float32((levels - 1) / 2), out=scaled)
    return codes, (1 / np.sqrt(squares(scaled))).astype("<f2")


def squares(rows: Floats) -> Floats:
    """The squared length of each row."""
    sums: Floats = np.einsum("ij,ij->i", rows, rows)
    return sums


def folded(codes: Codes, bits: int) -> Codes:
    """Codes of 2, 4 or 8 bits side by side in bytes: the row's first part in the highest bits, and so on.

    So the numbers come apart by one shift a part, and none has to be put between two others.
    """
    parts = 8 // bits
    width = -(-codes.shape[1] // parts)
    padded = np.zeros((len(codes), parts * width), np.uint8)
    padded[:, : codes.shape[1]] = codes
    out = np.zeros((len(codes), width), np.uint8)
    for number in range(parts):
        out |= padded[:, number * width : (number + 1) * width] << np.uint8(8 - bits * (number + 1))
    return out


def unfolded(codes: Codes, bits: int) -> Codes:
    """Codes one a byte, with up to seven more at the end that stand for no dimension."""
    if bits == 1:
        return np.unpackbits(codes, axis=1)
    if bits == 8:
        return codes
    count, width = codes.shape
    parts, mask = 8 // bits, np.uint8((1 << bits) - 1)
    out = np.empty((count, parts * width), np.uint8)
    for number in range(parts):
        part = out[:, number * width : (number + 1) * width]
        np.right_shift(codes, np.uint8(8 - bits * (number + 1)), out=part)
        if number:
            np.bitwise_and(part, mask, out=part)
    return out


def query_tokens(tokens: Tokens, vectors: Floats) -> QueryTokens:
    """What of an encoded query takes part: all but the special word pieces, each vector of unit length."""
    own = ~tokens.special
    return QueryTokens(tokens.ids[own], unit(vectors[own]), tokens.words[own], tokens.offsets[own])


def projected(query: QueryTokens, dimensions: int) -> QueryTokens:
    """The query as passages of so many dimensions are kept, again of unit length."""
    width = query.vectors.shape[1]
    if not 0 < dimensions < width:
        return query
    return QueryTokens(query.ids, unit(query.vectors @ projection(width, dimensions)), query.words, query.offsets)


def unit(rows: Floats) -> Floats:
    """Rows of unit length; a row of noughts stays so."""
    lengths = np.linalg.norm(rows, axis=1, keepdims=True)
    made: Floats = np.divide(rows, lengths, out=np.zeros_like(rows), where=lengths > 0)
    return made


def pack_query(query: QueryTokens) -> bytes:
    """A query's word pieces and vectors, all dimensions of them."""
    head = QUERY_HEADER.pack(QUERY_MAGIC, QUERY_VERSION, *query.vectors.shape)
    places = query.ids.astype("<u4").tobytes() + query.offsets.astype("<i4").tobytes()
    return head + places + query.words.tobytes() + query.vectors.astype("<f2").tobytes()


def unpack_query(data: bytes) -> QueryTokens:
    """What ``pack_query`` packed; ValueError where it is of another version or cut."""
    if len(data) < QUERY_HEADER.size:
        raise ValueError("a query's token vectors are cut")
    magic, version, count, width = QUERY_HEADER.unpack_from(data)
    if (magic, version) != (QUERY_MAGIC, QUERY_VERSION):
        raise ValueError(f"a query's token vectors are of version {version}, not {QUERY_VERSION}")
    if len(data) != QUERY_HEADER.size + count * (13 + 2 * width):
        raise ValueError("a query's token vectors are cut")
    places = np.frombuffer(data, "<u4", 3 * count, QUERY_HEADER.size)
    at = QUERY_HEADER.size + 12 * count
    words = np.frombuffer(data, np.uint8, count, at).astype(np.bool_)
    vectors = np.frombuffer(data, "<f2", count * width, at + count).reshape(count, width)
    offsets = places[count:].astype(np.int32).reshape(count, 2)
    return QueryTokens(places[:count].astype(np.int64), vectors.astype(np.float32), words, offsets)
