"""A cross-encoder of MiniLM-L6's size: the embedder's own weights below a classification head of random numbers.

It ranks by nothing, but costs what a trained one of its size costs, and its scores spread over all of 0 to 1.
"""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np

from ragline.encoder.safetensors import Weights
from tests.reranker.tiny import write_safetensors

SPREAD = 0.12
TOKENS = 512


def write(model: Path, folder: Path) -> Path:
    """``folder``, filled with a BertForSequenceClassification of one label over ``model``'s layers."""
    folder.mkdir(parents=True)
    weights = Weights(model)
    tensors = {f"bert.{name}": weights.array(name) for name in weights.places if "position_ids" not in name}
    width = tensors["bert.embeddings.word_embeddings.weight"].shape[1]
    random = np.random.default_rng(5)
    tensors["classifier.weight"] = random.normal(0, SPREAD, (1, width)).astype(np.float32)
    tensors["classifier.bias"] = np.zeros(1, np.float32)
    write_safetensors(folder / "model.safetensors", tensors)
    config = json.loads((model / "config.json").read_bytes())
    config |= {"architectures": ["BertForSequenceClassification"], "id2label": {"0": "relevant"}}
    (folder / "config.json").write_text(json.dumps(config | {"label2id": {"relevant": 0}}))
    for name in ("tokenizer.json", "tokenizer_config.json", "special_tokens_map.json", "vocab.txt"):
        if (model / name).exists():
            shutil.copy(model / name, folder / name)
    return folder
