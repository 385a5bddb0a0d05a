"""What a runtime is, and the arrays that one is fed: a batch of texts padded to its longest."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from ragline.encoder.tokenizer import Tokens


class Runtime(Protocol):
    """A graph that is ready to run."""

    def run(self, batch: Sequence[Tokens], outputs: Sequence[str]) -> list[NDArray[np.float32]]:
        """The named outputs for a batch that is not empty; may be called from several threads at once."""
        ...


def feeds(batch: Sequence[Tokens], inputs: Iterable[str]) -> dict[str, NDArray[np.int64]]:
    """An int64 array (texts, longest text) for each input of the graph."""
    length = max(len(tokens) for tokens in batch)
    arrays = {name: np.zeros((len(batch), length), np.int64) for name in inputs}
    for row, tokens in enumerate(batch):
        arrays["input_ids"][row, : len(tokens)] = tokens.ids
        arrays["attention_mask"][row, : len(tokens)] = 1
        if "token_type_ids" in arrays:
            arrays["token_type_ids"][row, : len(tokens)] = tokens.types
    return arrays
