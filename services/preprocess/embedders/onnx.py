"""Embeds with a BERT-family model on ONNX Runtime, without PyTorch: the default."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from ragline.encoder import Encoder
from services.preprocess.embedders import Embedded, Parts


class Onnx:
    """An ``Embedder`` over ``ragline.encoder``; the token vectors are a by-product of the same pass."""

    def __init__(self, encoder: Encoder, name: str) -> None:
        self.encoder, self.name = encoder, name
        self.fingerprint, self.dimensions = encoder.fingerprint, encoder.dimensions
        self.max_tokens = encoder.max_tokens
        self.tokenizer_file: Path | None = encoder.tokenizer_file

    def count_tokens(self, texts: Sequence[str]) -> list[int]:
        """As ``Embedder.count_tokens``."""
        return self.encoder.count_tokens(texts)

    def embed(self, texts: Sequence[str], *, token_vectors: bool = False) -> Embedded:
        """As ``Embedder.embed``."""
        tokens = self.encoder.tokenize(texts)
        encoded = self.encoder.encode(tokens, token_vectors=token_vectors)
        rows = encoded.token_vectors
        return Embedded(
            vectors=encoded.vectors,
            tokens=[len(each) for each in tokens],
            token_ids=[np.unique(each.ids[~each.special]).astype(np.uint32) for each in tokens],
            truncated=[each.truncated for each in tokens],
            token_vectors=None if rows is None else list(zip(tokens, rows, strict=True)),
        )


def load(parts: Parts, *, model: str = "all-MiniLM-L6-v2", max_tokens: int | None = None) -> Onnx:
    """``model`` is a catalogue id, a folder or a hub id; ``max_tokens`` replaces the model's own limit.

    Raises SettingsError, with the way out, for a model that is not here or not of a kind that is built here.
    """
    folder = parts.models.resolve(model)
    return Onnx(Encoder.open(folder, threads=parts.threads, max_tokens=max_tokens), Path(model).name)
