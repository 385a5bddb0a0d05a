"""Builds real stores and documents for the tests of the retriever."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from ragline.v1.passage_pb2 import Passage
from ragline.v1.retriever_pb2 import Document
from services.retriever import dense, sparse, stores
from services.retriever.dense import DenseBackend, flat, tiered
from services.retriever.dense._graph import Work
from services.retriever.dense._plan import Policy
from services.retriever.sparse import tantivy
from services.retriever.stores import Content, Key, Store, embedded

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
    uri: str | None = None,
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
            uri=f"file:///{name}" if uri is None else uri,
        ),
        [Passage(text=text, start=at, end=at + len(text)) for text, at in zip(texts, starts, strict=False)],
        np.array([vector(text, dimensions) for text in texts], dtype=np.float32).reshape(len(texts), dimensions),
        fingerprint,
        [token_ids(text) for text in texts],
    )


def open_store(
    folder: Path, segment_rows: int = 64, vectors: DenseBackend | None = None, **options: float
) -> embedded.EmbeddedStore:
    """The embedded store with the shipped indexes; small segments, so that a test meets many of them."""
    parts = stores.Parts(
        folder=folder,
        sparse=tantivy.load(sparse.Parts(1)),
        dense=vectors or flat.load(dense.Parts(1), segment_rows=segment_rows),
        threads=1,
    )
    return embedded.load(parts, **options)  # type: ignore[arg-type]  # one of them is a float


def tiers(exact_rows: int = 4, hnsw_rows: int = 12, settle_s: float = 0.0) -> tiered.Tiered:
    """Vectors in tiers so small that a few passages climb them all; graphs are walked whatever is allowed."""
    policy = Policy(
        hnsw_rows, merge_share=0.5, quiet_share=0.05, dead_share=0.3, tail_rows=max(1, exact_rows // 4)
    )
    work = Work(threads=1, recall=0.97, scan_factor=0.0)
    return tiered.Tiered(exact_rows, policy, work, settle_s)


def open_tiered(folder: Path, **options: float) -> embedded.EmbeddedStore:
    """The embedded store with vectors in such tiers."""
    return open_store(folder, 64, tiers(), **options)


def words_of(store: Store, query: str, depth: int = 1000) -> list[str]:
    """The texts that search by words finds, best first."""
    view = store.view(KEY)
    rows = view.sparse(query, depth, None).rows.tolist()
    passages = view.fetch(rows)
    return [passages[row].text for row in rows]


def nearest(store: Store, text: str, depth: int = 1) -> list[tuple[str, float]]:
    """The texts nearest to ``text``, and their cosines."""
    view = store.view(KEY)
    ranking = view.dense(vector(text)[None], depth, None)[0]
    rows = ranking.rows.tolist()
    passages = view.fetch(rows)
    return [(passages[row].text, float(score)) for row, score in zip(rows, ranking.scores, strict=True)]


def check(store: Store, model: Mapping[str, Sequence[str]]) -> None:
    """Assert that the store holds exactly ``model`` (texts of each document), by every way of looking at it."""
    view = store.view(KEY)
    texts = [text for passages in model.values() for text in passages]
    assert view.passages == len(texts)
    assert sorted(text for text, _ in nearest(store, "anything", 10_000)) == sorted(texts)
    assert sorted(words_of(store, "passage", 10_000)) == sorted(texts)
    for text in texts:
        found, cosine = nearest(store, text)[0]
        assert found == text
        assert cosine == pytest.approx(1.0, abs=0.01)  # a byte a number
    summaries = store.documents(KEY, 1000, "")
    assert {each.id: each.passages for each in summaries} == {name: len(texts) for name, texts in model.items()}
    for name, expected in model.items():
        kept = store.document(KEY, name, brief=False)
        assert [passage.text for passage in kept.passages] == list(expected)
        assert [passage.id for passage in kept.passages] == [f"{name}#{i}" for i in range(len(expected))]
        assert kept.document.source == "\n".join(expected)
    counts: Counter[int] = Counter()
    for text in texts:
        counts.update(np.frombuffer(token_ids(text), dtype="<u4").tolist())
    ids = sorted(counts) or [3]
    assert view.frequencies(ids) == [counts[each] for each in ids]
