"""Embeds with any model that sentence-transformers can load; needs the extra [torch]."""

from __future__ import annotations

import importlib
import threading
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from ragline.encoder.fingerprint import fingerprint
from ragline.settings import SettingsError
from services.preprocess.embedders import Embedded, Parts

CONTENT = {".safetensors", ".bin", ".json", ".txt", ".model"}
DEFAULT_TOKENS = 512


class Sentences:
    """An ``Embedder`` over a SentenceTransformer; it hands out no token vectors."""

    def __init__(self, model: Any, folder: Path, name: str) -> None:
        self.model, self.name = model, name
        # A tokenizer of transformers remembers the cut it was last asked for: two threads would mix theirs.
        self.lock = threading.Lock()
        self.dimensions = self.encode(["warm"]).shape[1]
        self.max_tokens = int(model.max_seq_length or DEFAULT_TOKENS)
        self.fingerprint = fingerprint(content(folder), "sentence-transformers", self.max_tokens)
        file = folder / "tokenizer.json"
        self.tokenizer_file: Path | None = file if file.is_file() else None

    def encode(self, texts: Sequence[str]) -> Any:
        """Unit vectors, float32 (n, dimensions)."""
        return self.model.encode(
            list(texts), batch_size=len(texts), normalize_embeddings=True, show_progress_bar=False
        )

    def pieces(self, texts: Sequence[str], **options: Any) -> list[list[int]]:
        """The ids of each text's word pieces."""
        return list(self.model.tokenizer(list(texts), **options)["input_ids"]) if texts else []

    def count_tokens(self, texts: Sequence[str]) -> list[int]:
        """As ``Embedder.count_tokens``."""
        with self.lock:
            return [len(ids) for ids in self.pieces(sound(texts), add_special_tokens=False, verbose=False)]

    def embed(self, texts: Sequence[str], *, token_vectors: bool = False) -> Embedded:
        """As ``Embedder.embed``; there are no token vectors."""
        texts = sound(texts)
        with self.lock:
            whole = self.pieces(texts, verbose=False)
            bare = self.pieces(texts, add_special_tokens=False, verbose=False)
            vectors = self.encode(texts) if texts else np.zeros((0, self.dimensions))
        room = [self.max_tokens - len(all_) + len(own) for all_, own in zip(whole, bare, strict=True)]
        return Embedded(
            vectors=np.asarray(vectors, np.float32),
            tokens=[min(len(ids), self.max_tokens) for ids in whole],
            token_ids=[np.unique(np.array(ids[:most], np.uint32)) for ids, most in zip(bare, room, strict=True)],
            truncated=[len(ids) > self.max_tokens for ids in whole],
        )


def sound(texts: Sequence[str]) -> list[str]:
    """The texts without lone surrogates, which no tokenizer takes."""
    return [text.encode("utf-8", "replace").decode() for text in texts]


def content(folder: Path) -> list[Path]:
    """The files that decide what a model computes, in a fixed order; hidden ones are notes of ours."""
    return sorted(file for file in folder.rglob("*") if file.suffix in CONTENT and not file.name.startswith("."))


def load(parts: Parts, *, model: str = "all-MiniLM-L6-v2", device: str = "cpu") -> Sentences:
    """``model`` is a catalogue id, a folder or a hub id; ``device`` is what PyTorch calls it, such as cuda:0.

    Raises SettingsError where the extra is not installed or the model cannot be loaded.
    """
    try:
        library = importlib.import_module("sentence_transformers")
        torch = importlib.import_module("torch")
    except ModuleNotFoundError as error:
        raise SettingsError(
            f"the sentence_transformer embedder needs {error.name}: pip install 'ragline[torch]', or use onnx."
        ) from None
    folder = parts.models.resolve(model)
    if parts.threads:
        torch.set_num_threads(parts.threads)
    try:
        loaded = library.SentenceTransformer(str(folder), device=device)
    except (OSError, ValueError, RuntimeError) as error:
        raise SettingsError(f"sentence-transformers cannot load {folder} on {device}: {error}") from None
    return Sentences(loaded, folder, Path(model).name)
