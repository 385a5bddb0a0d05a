"""Classifies pairs of texts, such as a query and a passage, without PyTorch: a cross-encoder."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ragline.encoder import heads
from ragline.encoder.architecture import architecture, document
from ragline.encoder.encoder import token_limit
from ragline.encoder.feeds import Runtime
from ragline.encoder.fingerprint import fingerprint
from ragline.encoder.layers import Layers
from ragline.encoder.runtimes import BUILDS, REFERENCE, Name, missing
from ragline.encoder.safetensors import Weights
from ragline.encoder.tokenizer import FILE, Tokenizer, Tokens
from ragline.settings import SettingsError


@dataclass(frozen=True)
class PairClassifier:
    """A BERT-family sequence classifier; its methods may be called from several threads at once.

    ``fingerprint`` tells the content of weights and tokenizer and the limit; ``runtime`` says what computes, and
    two of them may give scores that differ a little.
    """

    name: str
    labels: int
    max_tokens: int
    fingerprint: str
    tokenizer: Tokenizer
    session: Runtime
    runtime: Name = REFERENCE

    @classmethod
    def open(
        cls, folder: Path, *, threads: int, max_tokens: int | None = None, runtime: Name = REFERENCE
    ) -> PairClassifier:
        """The classifier of a model folder in the Hugging Face layout; options and errors as ``Encoder.open``.

        Raises SettingsError, too, for a ``runtime`` that is not there or cannot take the model.
        """
        if lack := missing(runtime):
            raise SettingsError(f"the runtime {runtime} cannot be had: {lack}.")
        kind, run = BUILDS[runtime]
        model = architecture(document(folder / "config.json"), folder)
        weights, graph = Weights(folder), kind()
        encoded = Layers(graph, weights, model).build(pairs=True)
        labels = heads.classifier(graph, encoded, weights, model)
        limit = token_limit(folder, encoded.positions, max_tokens)
        return cls(
            name=folder.name,
            labels=labels,
            max_tokens=limit,
            fingerprint=fingerprint([*weights.files, folder / FILE], model, labels, limit),
            tokenizer=Tokenizer(folder, limit=limit, rows=encoded.words),
            session=run(graph, threads=threads),
            runtime=runtime,
        )

    @staticmethod
    def labels_of(folder: Path) -> int:
        """How many labels a model folder's classifier has, without loading it; errors as ``open``."""
        return heads.labels(Weights(folder), architecture(document(folder / "config.json"), folder))

    def tokenize(self, query: str, texts: Sequence[str]) -> list[Tokens]:
        """The query beside each text, ``max_tokens`` word pieces at most; offsets are within each text."""
        return self.tokenizer.pairs(query, texts)

    def score(self, batch: Sequence[Tokens]) -> NDArray[np.float32]:
        """Raw logits, float32 (n, labels), in one run; what they mean is the model's affair."""
        if not batch:
            return np.zeros((0, self.labels), np.float32)
        return self.session.run(batch, ["logits"])[0]
