"""Tiny models with random weights, saved by transformers as real ones are."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from tokenizers import Tokenizer, models, pre_tokenizers, processors

WORDS = [
    "[UNK]",
    "[PAD]",
    "[CLS]",
    "[SEP]",
    *"abcdefghijklmnopqrstuvwxyz",
    ".",
    ",",
    *(f"##{c}" for c in "abcdefgh"),
]
PAD, CLS, SEP = 1, 2, 3
POSITIONS = 64


def tokenizer(folder: Path) -> Path:
    """A word-piece tokenizer of letters in ``folder``."""
    inner = Tokenizer(models.WordPiece({word: i for i, word in enumerate(WORDS)}, unk_token="[UNK]"))
    inner.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    inner.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]",
        pair="[CLS] $A [SEP] $B:1 [SEP]:1",
        special_tokens=[("[CLS]", CLS), ("[SEP]", SEP)],
    )
    folder.mkdir(parents=True, exist_ok=True)
    inner.save(str(folder / "tokenizer.json"))
    (folder / "tokenizer_config.json").write_text(json.dumps({"model_max_length": POSITIONS - 4}))
    return folder


def sizes(family: str, **more: Any) -> dict[str, Any]:
    """Options of a tiny transformers config of ``family``."""
    common = {"vocab_size": len(WORDS), "max_position_embeddings": POSITIONS, "pad_token_id": PAD}
    if family == "distilbert":
        return {**common, "dim": 32, "n_heads": 4, "n_layers": 3, "hidden_dim": 48, **more}
    return {
        **common,
        "hidden_size": 32,
        "num_attention_heads": 4,
        "num_hidden_layers": 3,
        "intermediate_size": 48,
        **({"embedding_size": 16} if family == "electra" else {}),
        **more,
    }


def save(folder: Path, family: str, *, labels: int = 0, **more: Any) -> Any:
    """Save a random model of ``family`` in ``folder``, a classifier if it has ``labels``; returns the torch model.

    Biases and normalisations, which start as zeros and ones, are made random too, so that a wrong place shows.
    """
    import torch
    from transformers import AutoConfig, AutoModel, AutoModelForSequenceClassification

    torch.manual_seed(1)
    options = {"num_labels": labels} if labels else {}
    config = AutoConfig.for_model(family, **sizes(family, **options, **more))
    kind: Any = AutoModelForSequenceClassification if labels else AutoModel
    model = kind.from_config(config).eval()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(torch.randn_like(parameter) * 0.2)
    model.save_pretrained(tokenizer(folder), safe_serialization=True)
    return model


def write(file: Path, tensors: dict[str, NDArray[np.generic]], kinds: dict[str, str] | None = None) -> None:
    """A safetensors file, written without the library; ``kinds`` overrides what the header calls a type."""
    header, blocks, at = {}, [], 0
    for name, array in tensors.items():
        kind = (kinds or {}).get(
            name, {"float32": "F32", "float16": "F16", "uint16": "BF16"}.get(array.dtype.name, "I64")
        )
        data = array.tobytes()
        header[name] = {"dtype": kind, "shape": list(array.shape), "data_offsets": [at, at + len(data)]}
        blocks.append(data)
        at += len(data)
    head = json.dumps({"__metadata__": {"format": "pt"}, **header}).encode()
    head += b" " * (-len(head) % 8)
    file.write_bytes(len(head).to_bytes(8, "little") + head + b"".join(blocks))


def bert_tensors() -> dict[str, NDArray[np.generic]]:
    """Random weights of a BERT of one layer, 8 wide."""
    random = np.random.default_rng(5)
    shapes: dict[str, tuple[int, ...]] = {
        "embeddings.word_embeddings.weight": (len(WORDS), 8),
        "embeddings.position_embeddings.weight": (POSITIONS, 8),
        "embeddings.token_type_embeddings.weight": (2, 8),
        **{f"embeddings.LayerNorm.{part}": (8,) for part in ("weight", "bias")},
    }
    layer = "encoder.layer.0."
    for name, out, width in [
        *((f"attention.self.{part}", 8, 8) for part in ("query", "key", "value")),
        ("attention.output.dense", 8, 8),
        ("intermediate.dense", 12, 8),
        ("output.dense", 8, 12),
    ]:
        shapes |= {f"{layer}{name}.weight": (out, width), f"{layer}{name}.bias": (out,)}
    for name in ("attention.output.LayerNorm", "output.LayerNorm"):
        shapes |= {f"{layer}{name}.{part}": (8,) for part in ("weight", "bias")}
    return {name: random.normal(size=shape).astype(np.float32) for name, shape in shapes.items()}


BERT = {
    "model_type": "bert",
    "hidden_size": 8,
    "num_attention_heads": 2,
    "num_hidden_layers": 1,
    "hidden_act": "gelu",
    "layer_norm_eps": 1e-12,
}


def bert(folder: Path, config: dict[str, Any] | None = None, **tensors: NDArray[np.generic]) -> Path:
    """A model folder made without PyTorch; ``config`` and ``tensors`` add to the usual or replace it."""
    tokenizer(folder)
    (folder / "config.json").write_text(json.dumps({**BERT, **(config or {})}))
    write(folder / "model.safetensors", {**bert_tensors(), **tensors})
    return folder
