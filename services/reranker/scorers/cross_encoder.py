"""A cross-encoder without PyTorch: any BERT-family sequence classifier, on ONNX Runtime or OpenVINO."""

from __future__ import annotations

import json

from ragline.encoder import PairClassifier, Tokens
from ragline.encoder.fingerprint import fingerprint
from ragline.encoder.runtimes import REFERENCE, Name
from ragline.encoder.safetensors import Weights
from ragline.encoder.tokenizer import FILE
from services.reranker.scorers import Parts
from services.reranker.scorers._batched import Batched
from services.reranker.scorers._head import Activation, head
from services.reranker.scorers._runtime import Choice, Judges, choose
from services.reranker.scorers._verdicts import Verdicts


def load(
    parts: Parts,
    *,
    model: str,
    max_tokens: int | None = None,
    activation: Activation = "auto",
    label: int | str | None = None,
    runtime: Choice = "auto",
) -> Batched[Tokens]:
    """The classifier ``model`` (a folder, a catalogue id or a hub id) as a scorer.

    ``max_tokens`` bounds query and passage together. ``activation`` "auto" is what the model's config.json
    says. A model with several labels needs ``label``, its number or name. ``runtime`` "auto" is the fastest of
    those here that agrees with ONNX Runtime in float32, found by a trial at the first start. Raises SettingsError
    for a model that cannot be had or built, a label that it has not, or a runtime that is not there or disagrees.
    """
    folder = parts.model(model)
    config = json.loads((folder / "config.json").read_bytes())

    def opened(name: Name) -> PairClassifier:
        return PairClassifier.open(folder, threads=parts.threads, max_tokens=max_tokens, runtime=name)

    chosen = head(config, PairClassifier.labels_of(folder), activation, label)
    judges = Judges(chosen.scores, lambda logits: [chosen.calibration(score) for score in chosen.scores(logits)])
    facts = fingerprint([*Weights(folder).files, folder / FILE], max_tokens, chosen)
    kept = parts.data_dir / "models" if parts.data_dir is not None else None
    classifier = choose(runtime, opened, judges, Verdicts(kept, facts, parts.threads))
    computed = "" if classifier.runtime == REFERENCE else f" {classifier.runtime}"
    return Batched(
        "cross_encoder",
        parts,
        prepare=classifier.tokenize,
        run=lambda pairs: chosen.scores(classifier.score(pairs)),
        size=len,
        fingerprint=f"cross_encoder {classifier.fingerprint} {chosen}{computed}",
        calibration=chosen.calibration,
    )
