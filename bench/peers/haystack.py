"""Haystack: the in-memory store's BM25 and embedding retrievers, joined by reciprocal rank fusion."""

from __future__ import annotations

from typing import Any

from haystack import Document
from haystack.components.joiners import DocumentJoiner
from haystack.components.retrievers.in_memory import InMemoryBM25Retriever, InMemoryEmbeddingRetriever
from haystack.document_stores.in_memory import InMemoryDocumentStore

from bench.retrieval.corpus import DEPTH, Corpus


class Haystack:
    """An ``Engine``; each retriever offers as many candidates as the service's own halves do."""

    def __init__(self, corpus: Corpus) -> None:
        self.corpus = corpus
        self.vectors = corpus.query_vectors.tolist()
        self.store = InMemoryDocumentStore(embedding_similarity_function="dot_product")
        self.words = InMemoryBM25Retriever(self.store, top_k=DEPTH)
        self.nearest = InMemoryEmbeddingRetriever(self.store, top_k=DEPTH, return_embedding=False)
        self.joiner = DocumentJoiner(join_mode="reciprocal_rank_fusion")

    def build(self) -> None:
        """See ``Engine``."""
        pairs = zip(self.corpus.wholes(), self.corpus.vectors, strict=True)
        self.store.write_documents(
            [Document(id=str(n), content=text, embedding=row.tolist()) for n, (text, row) in enumerate(pairs)]
        )

    def search(self, query: int, depth: int) -> list[int]:
        """See ``Engine``."""
        words: list[Any] = self.words.run(query=self.corpus.queries[query])["documents"]
        near: list[Any] = self.nearest.run(query_embedding=self.vectors[query])["documents"]
        return [int(found.id) for found in self.joiner.run([words, near], top_k=depth)["documents"]]
