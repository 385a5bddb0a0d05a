"""Every measurement of reranking, one after the other, so that none shares its cores with another."""

from __future__ import annotations

from pathlib import Path

from bench.report import Row
from bench.reranking import calls, classifier, crossing, keeping, scoring


def measure(model: Path, folder: Path) -> list[Row]:
    """The rows, from the embedder's weights in ``model``; ``folder`` is for files that may go afterwards."""
    made = classifier.write(model, folder / "classifier")
    (folder / "kept").mkdir()
    return [
        *scoring.measure(model, made),
        *calls.measure(folder / "suite"),
        keeping.measure(model, folder / "kept"),
        *crossing.measure(made),
    ]
