"""Builds real stores and documents for the tests of the retriever."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ragline.v1.passage_pb2 import Passage
from ragline.v1.retriever_pb2 import Document
from services.retriever import dense, sparse, stores
from services.retriever.dense import flat
from services.retriever.sparse import tantivy
from services.retriever.stores import Content, Key, embedded

DIMENSIONS = 16
FINGERPRINT = "words-16"
KEY = Key("default", "default")


def vector(text: str, dimensions: int = DIMENSIONS) -> NDArray[np.float32]:
    """A unit vector that depends on the text alone; equal texts have cosine 1."""
    seed = int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "little")
    made = np.random.default_rng(seed).standard_normal(dimensions).astype(np.float32)
    unit: NDArray[np.float32] = made / np.linalg.norm(made)
    return unit


def token_ids(text: str) -> bytes:
    """Distinct numbers of the text's words, ascending."""
    ids = {int.from_bytes(hashlib.sha256(word.encode()).digest()[:2], "little") for word in text.split()}
    return np.array(sorted(ids), dtype="<u4").tobytes()


def content(
    name: str,
    texts: Sequence[str],
    *,
    metadata: str = "{}",
    title: str = "",
    fingerprint: str = FINGERPRINT,
    dimensions: int = DIMENSIONS,
    content_hash: str | None = None,
) -> Content:
    """A document of these passages."""
    source = "\n".join(texts)
    made = hashlib.sha256(repr((texts, metadata, title)).encode()).hexdigest()
    starts = np.cumsum([0, *(len(text) + 1 for text in texts)]).tolist()
    return Content(
        Document(
            id=name,
            title=title,
            source=source,
            metadata_json=metadata,
            content_hash=made if content_hash is None else content_hash,
            media_type="text/plain",
            uri=f"file:///{name}",
        ),
        [Passage(text=text, start=at, end=at + len(text)) for text, at in zip(texts, starts, strict=False)],
        np.array([vector(text, dimensions) for text in texts], dtype=np.float32).reshape(len(texts), dimensions),
        fingerprint,
        [token_ids(text) for text in texts],
    )


def open_store(folder: Path, *, segment_rows: int = 64, **options: int) -> embedded.EmbeddedStore:
    """The embedded store with the shipped indexes; small segments, so that a test meets many of them."""
    parts = stores.Parts(
        folder=folder,
        sparse=tantivy.load(sparse.Parts(1)),
        dense=flat.load(dense.Parts(1), segment_rows=segment_rows),
        threads=1,
    )
    return embedded.load(parts, **options)
