"""Embedders: text to vectors. Each is a file here, and its name is the value of PREPROCESS_EMBEDDER."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from ragline.encoder import Tokens
from ragline.models import ModelStore


@dataclass(frozen=True)
class Parts:
    """What an embedder is built from; ``threads`` of 0 is every core."""

    models: ModelStore
    threads: int


@dataclass(frozen=True)
class Embedded:
    """What n texts were embedded into.

    ``vectors`` is float32 (n, dimensions), of unit length. ``tokens`` counts the word pieces read of each
    text, special ones included, and ``truncated`` says whether there were more. ``token_ids`` holds each
    text's distinct word pieces as ascending uint32, without special ones. ``token_vectors`` are each text's
    word pieces and float32 (word pieces, width) of them, special ones included, which may be views of the whole
    batch; None where they were not asked for or the embedder has none.
    """

    vectors: NDArray[np.float32]
    tokens: list[int]
    token_ids: list[NDArray[np.uint32]]
    truncated: list[bool]
    token_vectors: list[tuple[Tokens, NDArray[np.float32]]] | None = None


class Embedder(Protocol):
    """Turns texts into vectors; called from several threads.

    Equal fingerprints promise equal vectors (to 1e-5), whatever else is in the batch. ``max_tokens`` is
    what it reads of a text, special word pieces included. ``tokenizer_file`` is a tokenizer.json for whoever
    cuts texts to fit; None: count words.
    """

    name: str
    fingerprint: str
    dimensions: int
    max_tokens: int
    tokenizer_file: Path | None

    def count_tokens(self, texts: Sequence[str]) -> list[int]:
        """The word pieces of each text, however many, without special ones."""
        ...

    def embed(self, texts: Sequence[str], *, token_vectors: bool = False) -> Embedded:
        """Embed all texts at once; the caller bounds the batch. A longer text is cut, never refused."""
        ...
