"""The hashing embedder, with a note of what it was asked and a gate that can hold it."""

from __future__ import annotations

import threading
from collections.abc import Sequence

from services.preprocess.embedders import Embedded
from services.preprocess.embedders.hashing import Hashing


class Recording(Hashing):
    """Notes every batch; while ``gate`` is clear, batches wait, and ``entered`` says that one does."""

    def __init__(self, dimensions: int = 64) -> None:
        super().__init__(dimensions)
        self.batches: list[list[str]] = []
        self.gate, self.entered = threading.Event(), threading.Event()
        self.gate.set()

    def embed(self, texts: Sequence[str], *, token_vectors: bool = False) -> Embedded:
        self.batches.append(list(texts))
        self.entered.set()
        assert self.gate.wait(30)
        return super().embed(texts, token_vectors=token_vectors)

    @property
    def texts(self) -> list[str]:
        """What was embedded since the last look, the warm-up left out."""
        seen = [text for batch in self.batches for text in batch if not text.startswith("warm warm")]
        self.batches.clear()
        return seen
