"""Writes a tiny BERT sequence classifier with random weights, in the Hugging Face layout, without PyTorch."""

import json
import string
import struct
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, processors

WIDTH, LAYERS, HEADS, INNER, POSITIONS = 32, 2, 4, 64, 64
SPECIAL = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
SYMBOLS = string.ascii_lowercase + string.digits + string.punctuation


def write(folder: Path, labels: int = 1, *, seed: int = 7, **config: Any) -> Path:
    """The folder, filled; ``seed`` chooses the weights, ``config`` is added to config.json."""
    folder.mkdir(parents=True, exist_ok=True)
    pieces = SPECIAL + list(SYMBOLS) + [f"##{symbol}" for symbol in SYMBOLS]
    write_tokenizer(folder, {piece: number for number, piece in enumerate(pieces)})
    (folder / "config.json").write_text(json.dumps(bert(labels, len(pieces)) | config))
    write_safetensors(folder / "model.safetensors", dict(weights(labels, len(pieces), seed)))
    return folder


def bert(labels: int, vocabulary: int) -> dict[str, Any]:
    return {
        "architectures": ["BertForSequenceClassification"],
        "model_type": "bert",
        "hidden_size": WIDTH,
        "num_hidden_layers": LAYERS,
        "num_attention_heads": HEADS,
        "intermediate_size": INNER,
        "max_position_embeddings": POSITIONS,
        "type_vocab_size": 2,
        "vocab_size": vocabulary,
        "hidden_act": "gelu",
        "layer_norm_eps": 1e-12,
        "pad_token_id": 0,
        "id2label": {str(number): f"label {number}" for number in range(labels)},
        "label2id": {f"label {number}": number for number in range(labels)},
    }


def write_tokenizer(folder: Path, vocabulary: dict[str, int]) -> None:
    tokenizer = Tokenizer(models.WordPiece(vocabulary, unk_token="[UNK]"))
    tokenizer.normalizer = normalizers.BertNormalizer(lowercase=True)
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    tokenizer.decoder = decoders.WordPiece()
    tokenizer.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]",
        pair="[CLS] $A [SEP] $B:1 [SEP]:1",
        special_tokens=[("[CLS]", vocabulary["[CLS]"]), ("[SEP]", vocabulary["[SEP]"])],
    )
    tokenizer.add_special_tokens(SPECIAL)
    tokenizer.save(str(folder / "tokenizer.json"))
    names = {f"{piece.strip('[]').lower()}_token": piece for piece in SPECIAL}
    config = {"tokenizer_class": "BertTokenizer", "model_max_length": POSITIONS, "do_lower_case": True}
    (folder / "tokenizer_config.json").write_text(json.dumps(config | names))


def weights(labels: int, vocabulary: int, seed: int) -> Iterator[tuple[str, npt.NDArray[np.float32]]]:
    random = np.random.default_rng(seed)

    def dense(name: str, outputs: int, inputs: int) -> Iterator[tuple[str, npt.NDArray[np.float32]]]:
        yield f"{name}.weight", random.normal(0, 0.3, (outputs, inputs)).astype(np.float32)
        yield f"{name}.bias", random.normal(0, 0.1, outputs).astype(np.float32)

    def norm(name: str) -> Iterator[tuple[str, npt.NDArray[np.float32]]]:
        yield f"{name}.weight", random.normal(1, 0.1, WIDTH).astype(np.float32)
        yield f"{name}.bias", random.normal(0, 0.1, WIDTH).astype(np.float32)

    for name, rows in (("word", vocabulary), ("position", POSITIONS), ("token_type", 2)):
        yield f"bert.embeddings.{name}_embeddings.weight", random.normal(0, 1, (rows, WIDTH)).astype(np.float32)
    yield from norm("bert.embeddings.LayerNorm")
    for layer in range(LAYERS):
        prefix = f"bert.encoder.layer.{layer}"
        for part in ("query", "key", "value"):
            yield from dense(f"{prefix}.attention.self.{part}", WIDTH, WIDTH)
        yield from dense(f"{prefix}.attention.output.dense", WIDTH, WIDTH)
        yield from norm(f"{prefix}.attention.output.LayerNorm")
        yield from dense(f"{prefix}.intermediate.dense", INNER, WIDTH)
        yield from dense(f"{prefix}.output.dense", WIDTH, INNER)
        yield from norm(f"{prefix}.output.LayerNorm")
    yield from dense("bert.pooler.dense", WIDTH, WIDTH)
    yield from dense("classifier", labels, WIDTH)


def write_safetensors(file: Path, tensors: dict[str, npt.NDArray[np.float32]]) -> None:
    header: dict[str, Any] = {"__metadata__": {"format": "pt"}}
    end = 0
    for name, tensor in tensors.items():
        header[name] = {"dtype": "F32", "shape": tensor.shape, "data_offsets": [end, end + tensor.nbytes]}
        end += tensor.nbytes
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    file.write_bytes(struct.pack("<Q", len(text)) + text + b"".join(t.tobytes() for t in tensors.values()))
