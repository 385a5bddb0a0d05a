"""txtai: embeddings with ``hybrid`` on, its own BM25 beside its own choice of a FAISS index."""

from __future__ import annotations

from collections import defaultdict
from typing import Any

import numpy as np
from txtai import Embeddings

from bench.retrieval.corpus import Corpus, Vectors


class Txtai:
    """An ``Engine``."""

    def __init__(self, corpus: Corpus) -> None:
        self.corpus = corpus
        self.rows: dict[str, list[int]] = defaultdict(list)
        for n, text in enumerate(corpus.wholes()):
            self.rows[text].append(n)
        self.queries = dict(zip(corpus.queries, corpus.query_vectors, strict=True))

        def transform(texts: list[str]) -> Vectors:  # txtai takes a function, and would call anything else
            return self.vectors(texts)

        self.embeddings: Any = Embeddings({"hybrid": True, "method": "external", "transform": transform})

    def vectors(self, texts: list[str]) -> Vectors:
        """The vectors of queries and passages of the corpus."""
        return np.array([self.vector(text) for text in texts], dtype=np.float32)

    def vector(self, text: str) -> Vectors:
        """The vector of one; equal texts have equal vectors."""
        known = self.queries.get(text)
        vector: Vectors = self.corpus.vectors[self.rows[text][0]] if known is None else known
        return vector

    def build(self) -> None:
        """See ``Engine``."""
        self.embeddings.index((n, text, None) for n, text in enumerate(self.corpus.wholes()))

    def search(self, query: int, depth: int) -> list[int]:
        """See ``Engine``."""
        return [int(found) for found, _ in self.embeddings.search(self.corpus.queries[query], depth)]
