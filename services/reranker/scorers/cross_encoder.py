"""A cross-encoder without PyTorch: any BERT-family sequence classifier, on ONNX Runtime."""

from __future__ import annotations

import json

from ragline.encoder import PairClassifier, Tokens
from services.reranker.scorers import Parts
from services.reranker.scorers._batched import Batched
from services.reranker.scorers._head import Activation, head


def load(
    parts: Parts,
    *,
    model: str,
    max_tokens: int | None = None,
    activation: Activation = "auto",
    label: int | str | None = None,
) -> Batched[Tokens]:
    """The classifier ``model`` (a folder, a catalogue id or a hub id) as a scorer.

    ``max_tokens`` bounds query and passage together. ``activation`` "auto" is what the model's config.json
    says. A model with several labels needs ``label``, its number or name. Raises SettingsError for a model
    that cannot be had or built, or a label that it has not.
    """
    folder = parts.model(model)
    classifier = PairClassifier.open(folder, threads=parts.threads, max_tokens=max_tokens)
    config = json.loads((folder / "config.json").read_bytes())
    chosen = head(config, classifier.labels, activation, label)
    return Batched(
        "cross_encoder",
        parts,
        prepare=classifier.tokenize,
        run=lambda pairs: chosen.scores(classifier.score(pairs)),
        size=len,
        fingerprint=f"cross_encoder {classifier.fingerprint} {chosen}",
    )
