"""Tiny models with random weights, saved by transformers as real ones are."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

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
