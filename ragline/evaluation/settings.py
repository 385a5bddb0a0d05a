"""The environment of a private suite: what shapes models and indexes is kept, what names data or places is not."""

from __future__ import annotations

import os
from collections.abc import Mapping

OURS = ("RAGLINE_", "PREPROCESS_", "RETRIEVER_", "RERANKER_", "GENERATOR_")
# What passages and vectors depend on: kept documents are only for the same values.
SHAPING = frozenset(
    {
        "PREPROCESS_CHUNKER",
        "PREPROCESS_CHUNKER_OPTIONS",
        "PREPROCESS_EMBEDDER",
        "PREPROCESS_EMBEDDER_OPTIONS",
        "PREPROCESS_MAX_TOKENS",
        "PREPROCESS_OVERLAP_TOKENS",
        "RAGLINE_TOKEN_BITS",
        "RAGLINE_TOKEN_DIMENSIONS",
    }
)
KEPT = SHAPING | {
    "PREPROCESS_MAX_BATCH_TOKENS",
    "PREPROCESS_THREADS",
    "RAGLINE_THREADS",
    "RERANKER_CALIBRATION",
    "RERANKER_MAX_BATCH_TOKENS",
    "RERANKER_MAX_QUEUE_TOKENS",
    "RERANKER_THREADS",
    "RETRIEVER_CANDIDATES",
    "RETRIEVER_FUSION",
    "RETRIEVER_SPARSE",
    "RETRIEVER_SPARSE_OPTIONS",
    "RETRIEVER_THREADS",
}


def environment(settings: Mapping[str, str]) -> dict[str, str]:
    """The process's own environment with ``settings``, and without what could reach anybody's data."""
    own = {name: value for name, value in os.environ.items() if not name.startswith(OURS) or name in KEPT}
    return {**own, **settings}


def shaping() -> dict[str, str]:
    """The settings that passages and vectors depend on, where they are not the defaults."""
    return {name: os.environ[name] for name in sorted(SHAPING) if name in os.environ}
