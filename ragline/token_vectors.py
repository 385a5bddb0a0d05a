"""Token vectors as kept for late interaction: one sign bit a dimension, for word pieces that carry text.

The method is Khattab and Zaharia's (2020, ColBERT), with an encoder that was not trained for it.
"""

from __future__ import annotations

import hashlib
import struct
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ragline.encoder.tokenizer import Tokens

MAGIC = b"TV"
VERSION = 1
HEADER = struct.Struct("<2sHII")
"""Magic, version, word pieces n, bytes a vector b. After it: n uint32 ids, then n x b bytes of bits."""


@dataclass(frozen=True)
class PackedTokens:
    """``ids`` uint32 (n,) of word pieces; ``bits`` uint8 (n, dimensions / 8), high bit first, 1 for over 0."""

    ids: NDArray[np.uint32]
    bits: NDArray[np.uint8]


def key(fingerprint: str, text: str) -> str:
    """The cache key of a text's packed token vectors by the encoder with this fingerprint."""
    return f"tv:{fingerprint}:{hashlib.sha256(text.encode('utf-8', 'replace')).hexdigest()}"


def kept(tokens: Tokens) -> NDArray[np.bool_]:
    """Which word pieces take part: those with a letter or digit, or, where none has, all of the text.

    An empty text has only special ones, and keeps those: nothing is ever without a vector.
    """
    if tokens.words.any():
        return tokens.words
    return ~tokens.special if not tokens.special.all() else tokens.special


def pack(tokens: Tokens, vectors: NDArray[np.float32]) -> bytes:
    """The signs of a text's token vectors (word pieces, dimensions), special word pieces included in both."""
    mask = kept(tokens)
    bits = np.packbits(vectors[mask] > 0, axis=1)
    ids = tokens.ids[mask].astype("<u4")
    return HEADER.pack(MAGIC, VERSION, *bits.shape) + ids.tobytes() + bits.tobytes()


def unpack(data: bytes) -> PackedTokens:
    """What ``pack`` packed, as views of ``data``; ValueError where it is of another version or cut."""
    if len(data) < HEADER.size:
        raise ValueError("packed token vectors are cut")
    magic, version, count, width = HEADER.unpack_from(data)
    if (magic, version) != (MAGIC, VERSION):
        raise ValueError(f"packed token vectors are of version {version}, not {VERSION}")
    if len(data) != HEADER.size + count * (4 + width):
        raise ValueError("packed token vectors are cut")
    ids = np.frombuffer(data, "<u4", count, HEADER.size)
    bits = np.frombuffer(data, np.uint8, count * width, HEADER.size + 4 * count).reshape(count, width)
    return PackedTokens(ids, bits)
