"""sentence-transformers' CrossEncoder on PyTorch, what most people rerank with; needs the extra [torch]."""

from __future__ import annotations

import importlib.util
import os
from collections.abc import Callable, Sequence
from pathlib import Path

MISSING = "not measured: the peer needs the extra [torch]"


def installed() -> bool:
    """Whether the peer can be measured here."""
    return importlib.util.find_spec("sentence_transformers") is not None


def scores(folder: Path, threads: int) -> Callable[[str, Sequence[str]], list[float]]:
    """What scores one query's passages with the model in ``folder`` on ``threads`` threads."""
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
    import torch  # noqa: PLC0415 - only where it is asked for
    from sentence_transformers import CrossEncoder  # noqa: PLC0415

    torch.set_num_threads(threads)
    model = CrossEncoder(str(folder), device="cpu", max_length=512)

    def score(query: str, passages: Sequence[str]) -> list[float]:
        pairs = [(query, passage) for passage in passages]
        found: list[float] = model.predict(pairs, batch_size=len(pairs), show_progress_bar=False).tolist()
        return found

    return score
