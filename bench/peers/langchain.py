"""LangChain: its FAISS store and its BM25 retriever, joined by its ensemble (reciprocal rank fusion)."""

from __future__ import annotations

from langchain_classic.retrievers import EnsembleRetriever
from langchain_community.retrievers import BM25Retriever
from langchain_community.vectorstores import FAISS
from langchain_core.embeddings import Embeddings

from bench.retrieval.corpus import DEPTH, Corpus


class Given(Embeddings):  # type: ignore[misc]  # the project is not installed where types are checked
    """The queries' vectors, which are known."""

    def __init__(self, corpus: Corpus) -> None:
        self.vectors = dict(zip(corpus.queries, corpus.query_vectors.tolist(), strict=True))

    def embed_query(self, text: str) -> list[float]:
        """The vector of a query of the corpus."""
        known: list[float] = self.vectors[text]
        return known

    def embed_documents(self, texts: list[str]) -> list[list[float]]:
        """The vectors of queries of the corpus."""
        return [self.vectors[text] for text in texts]


class LangChain:
    """An ``Engine``; each retriever offers as many candidates as the service's own halves do."""

    def __init__(self, corpus: Corpus) -> None:
        self.corpus = corpus
        self.hybrid: EnsembleRetriever | None = None

    def build(self) -> None:
        """See ``Engine``."""
        texts = list(self.corpus.wholes())
        places = [{"n": n} for n in range(len(texts))]
        near = FAISS.from_embeddings(
            list(zip(texts, self.corpus.vectors, strict=True)), Given(self.corpus), places
        )
        words = BM25Retriever.from_texts(texts, places, k=DEPTH)
        retrievers = [words, near.as_retriever(search_kwargs={"k": DEPTH})]
        self.hybrid = EnsembleRetriever(retrievers=retrievers, weights=[0.5, 0.5])

    def search(self, query: int, depth: int) -> list[int]:
        """See ``Engine``."""
        assert self.hybrid is not None
        return [found.metadata["n"] for found in self.hybrid.invoke(self.corpus.queries[query])[:depth]]
