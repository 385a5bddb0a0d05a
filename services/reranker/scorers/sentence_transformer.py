"""A cross-encoder of any architecture that sentence-transformers can load; needs the extra [torch]."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from ragline.encoder.fingerprint import fingerprint
from ragline.settings import SettingsError
from services.reranker.scorers import Parts
from services.reranker.scorers._batched import Batched
from services.reranker.scorers._calibration import DEFAULT, UNIT, Calibration
from services.reranker.scorers._head import resolved_label

CHANCES = frozenset({"Sigmoid", "Softmax"})  # activations that give 0 to 1
CHARACTERS_PER_TOKEN = 4  # of English; only the size of batches depends on it


def load(
    parts: Parts,
    *,
    model: str,
    max_tokens: int | None = None,
    device: str = "cpu",
    label: int | str | None = None,
    trust_remote_code: bool = False,
) -> Batched[tuple[str, str]]:
    """The library's CrossEncoder ``model`` (a folder, a catalogue id or a hub id) as a scorer.

    ``max_tokens`` bounds query and passage together; ``device`` is PyTorch's name of one. Its activation is
    what the library takes from the model. A model with several labels needs ``label``. Raises SettingsError
    where the extra is missing, the model cannot be had, or the library cannot load it.
    """
    encoder = opened(parts, model, max_tokens, device, trust_remote_code=trust_remote_code)
    labels = int(encoder.num_labels)
    column = resolved_label(encoder.config.to_dict(), labels, label)
    limit = int(encoder.max_seq_length or 0)

    def run(pairs: Sequence[tuple[str, str]]) -> list[float]:
        scores = np.asarray(encoder.predict(list(pairs), batch_size=len(pairs), show_progress_bar=False))
        chosen: list[float] = scores.reshape(len(pairs), labels)[:, column].astype(np.float64).tolist()
        return chosen

    def size(pair: tuple[str, str]) -> int:
        tokens = (len(pair[0]) + len(pair[1])) // CHARACTERS_PER_TOKEN + 3
        return min(tokens, limit) if limit else tokens

    return Batched(
        "sentence_transformer",
        parts,
        prepare=lambda query, texts: [(query, text) for text in texts],
        run=run,
        size=size,
        fingerprint=f"sentence_transformer {content(parts.model(model))} {limit} {column}",
        calibration=calibration(encoder),
    )


def calibration(encoder: Any) -> Calibration:
    """What makes its scores chances: nothing where its activation did, the logistic function for a logit."""
    return UNIT if type(encoder.activation_fn).__name__ in CHANCES else DEFAULT


def content(folder: Path) -> str:
    """A hash of what the model's folder holds, hidden files left out."""
    files = (file for file in sorted(folder.rglob("*")) if file.is_file() and not file.name.startswith("."))
    return fingerprint(list(files))


def opened(parts: Parts, model: str, max_tokens: int | None, device: str, *, trust_remote_code: bool) -> Any:
    """The library's CrossEncoder; the library is imported here, so that nothing else pays for it."""
    try:
        import torch  # noqa: PLC0415
        from sentence_transformers import CrossEncoder  # noqa: PLC0415
    except ModuleNotFoundError as error:
        raise SettingsError(
            f"the scorer sentence_transformer needs {error.name}: pip install 'ragline[torch]'."
        ) from error
    torch.set_num_threads(parts.threads)
    folder = str(parts.model(model))
    try:
        return CrossEncoder(folder, max_length=max_tokens, device=device, trust_remote_code=trust_remote_code)
    except (OSError, ValueError, RuntimeError, ImportError) as error:
        raise SettingsError(f"sentence-transformers cannot load {model}: {error}") from error
