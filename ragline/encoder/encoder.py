"""Encodes texts into one vector each, and one a word piece, without PyTorch."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ragline.encoder import heads, modules
from ragline.encoder.architecture import architecture, document
from ragline.encoder.fingerprint import fingerprint
from ragline.encoder.graph import Graph
from ragline.encoder.layers import Layers
from ragline.encoder.safetensors import Weights
from ragline.encoder.session import Session
from ragline.encoder.tokenizer import FILE, Tokenizer, Tokens
from ragline.settings import SettingsError

UNLIMITED = 1_000_000
"""Tokenizers without a limit state a larger one."""


@dataclass(frozen=True)
class Encoded:
    """What n texts were encoded into.

    ``vectors`` is float32 (n, dimensions), of unit length. ``token_vectors``, where asked for, is one
    float32 (word pieces, width) a text: the last layer, special word pieces included, of any length.
    """

    vectors: NDArray[np.float32]
    token_vectors: list[NDArray[np.float32]] | None = None


@dataclass(frozen=True)
class Encoder:
    """A BERT-family text encoder; its methods may be called from several threads at once.

    ``max_tokens`` counts special word pieces; ``fingerprint`` tells the content of weights and tokenizer,
    pooling and limit, so equal ones give equal vectors. ``width`` is the dimensions of a token's vector.
    """

    name: str
    dimensions: int
    width: int
    max_tokens: int
    fingerprint: str
    tokenizer_file: Path
    tokenizer: Tokenizer
    session: Session

    @classmethod
    def open(cls, folder: Path, *, threads: int, max_tokens: int | None = None) -> Encoder:
        """The encoder of a model folder in the Hugging Face or sentence-transformers layout.

        ``threads`` of 0 takes every core. ``max_tokens`` may be below the model's own limit, or above it
        up to its positions. Raises SettingsError, with the way out, for a model that is not built here
        or is not whole.
        """
        head, graph = modules.head(folder), Graph()
        inner = head.folder
        model, weights = architecture(document(inner / "config.json"), inner), Weights(inner)
        encoded = Layers(graph, weights, model).build(pairs=False)
        dimensions = heads.embedder(graph, encoded, head, model.width)
        limit = token_limit(inner, encoded.positions, max_tokens)
        lowercase = bool(optional(inner / "sentence_bert_config.json").get("do_lower_case"))
        files = [*weights.files, *(file for layer in head.dense for file in Weights(layer.folder).files)]
        steps = [head.pooling, *(layer.activation for layer in head.dense)]
        return cls(
            name=folder.name,
            dimensions=dimensions,
            width=model.width,
            max_tokens=limit,
            fingerprint=fingerprint([*files, inner / FILE], model, steps, lowercase, limit),
            tokenizer_file=inner / FILE,
            tokenizer=Tokenizer(inner, limit=limit, rows=encoded.words, lowercase=lowercase),
            session=Session(graph, threads=threads),
        )

    def count_tokens(self, texts: Sequence[str]) -> list[int]:
        """How many word pieces each text has, before any cut and without special ones."""
        return self.tokenizer.count(texts)

    def tokenize(self, texts: Sequence[str]) -> list[Tokens]:
        """Each text's first ``max_tokens`` word pieces, special ones included; never none."""
        return self.tokenizer.texts(texts)

    def encode(self, batch: Sequence[Tokens], *, token_vectors: bool = False) -> Encoded:
        """Encode all texts in one run, padded to the longest; the caller bounds and sorts the batch.

        A text's vectors do not depend on its neighbours by more than 1e-5.
        """
        if not batch:
            return Encoded(np.zeros((0, self.dimensions), np.float32), [] if token_vectors else None)
        if not token_vectors:
            return Encoded(self.session.run(batch, ["vector"])[0])
        vectors, padded = self.session.run(batch, ["vector", "token_vectors"])
        return Encoded(vectors, [rows[: len(each)] for rows, each in zip(padded, batch, strict=True)])


def token_limit(folder: Path, positions: int, asked: int | None) -> int:
    """The most word pieces a text may have: what was asked for, or what the model's files say.

    ``sentence_bert_config.json`` goes before ``tokenizer_config.json``, and no more than its positions.
    """
    if asked is not None and not 3 <= asked <= positions:
        raise SettingsError(f"max_tokens={asked} is no good: {folder.name} reads from 3 to {positions} tokens.")
    stated = (
        asked
        or optional(folder / "sentence_bert_config.json").get("max_seq_length")
        or optional(folder / "tokenizer_config.json").get("model_max_length")
    )
    return min(int(stated), positions) if stated and stated < UNLIMITED else positions


def optional(file: Path) -> dict[str, Any]:
    """A JSON object from a file that need not be there."""
    return document(file) if file.is_file() else {}
