"""Vectors of texts by the suite's own encoder, kept on the disk by content, since thousands take minutes."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ragline.encoder import Encoder

BLOCK = 1024  # texts whose vectors are kept in one file
BATCH = 32

Vectors = NDArray[np.float32]


def embed(encoder: Encoder, texts: Sequence[str], folder: Path) -> Vectors:
    """One vector (n, dimensions) a text; what ``folder`` holds of them is not made again."""
    folder.mkdir(parents=True, exist_ok=True)
    blocks = [texts[start : start + BLOCK] for start in range(0, len(texts), BLOCK)]
    return np.concatenate([kept(encoder, block, folder) for block in blocks])


def kept(encoder: Encoder, texts: Sequence[str], folder: Path) -> Vectors:
    """The vectors of a block, read or made."""
    content = "\0".join([encoder.fingerprint, *texts])
    file = folder / f"{hashlib.sha256(content.encode()).hexdigest()[:32]}.npy"
    if not file.exists():
        half = file.with_suffix(".half")
        with half.open("wb") as out:
            np.save(out, made(encoder, texts))
        half.rename(file)
    found: Vectors = np.load(file)
    return found


def made(encoder: Encoder, texts: Sequence[str]) -> Vectors:
    """Everything through the model, in order of length, so that batches are even."""
    order = sorted(range(len(texts)), key=lambda n: len(texts[n]))
    vectors = np.empty((len(texts), encoder.dimensions), dtype=np.float32)
    for start in range(0, len(order), BATCH):
        part = order[start : start + BATCH]
        vectors[part] = encoder.encode(encoder.tokenize([texts[n] for n in part])).vectors
    return vectors
