"""The engines bare, as one would call them by hand: FAISS, and tantivy."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import Any

import faiss
import numpy as np
import tantivy

from bench.retrieval.corpus import DEPTH, Corpus
from bench.retrieval.serving import timed

AT_ONCE = 1000
native: Any = faiss  # its stubs know the C++ signatures only
HEAP = 256_000_000
THREADS = 4


class Flat:
    """FAISS's exact scan of floats."""

    def __init__(self, corpus: Corpus) -> None:
        self.corpus = corpus
        faiss.omp_set_num_threads(1)
        self.index: Any = None

    def build(self) -> None:
        """See ``Engine``."""
        self.index = faiss.IndexFlatIP(self.corpus.vectors.shape[1])
        self.fill()

    def fill(self) -> None:
        """Add all vectors, a few at a time, so that the whole is never there twice."""
        for start in range(0, len(self.corpus.vectors), 65_536):
            self.index.add(np.ascontiguousarray(self.corpus.vectors[start : start + 65_536]))

    def search(self, query: int, depth: int) -> list[int]:
        """See ``Engine``."""
        faiss.omp_set_num_threads(1)  # a setting of each thread: more makes single queries slower
        _, found = self.index.search(self.corpus.query_vectors[query][None], depth)
        ids: list[int] = found[0].tolist()
        return ids

    def batch(self, threads: int) -> float:
        """Seconds of one call with a thousand queries."""
        faiss.omp_set_num_threads(threads)
        times = -(-AT_ONCE // len(self.corpus.query_vectors))
        queries = np.tile(self.corpus.query_vectors, (times, 1))[:AT_ONCE]
        return timed(lambda: self.index.search(queries, DEPTH))


class Quantised(Flat):
    """FAISS's exact scan of 8-bit numbers."""

    def build(self) -> None:
        """See ``Engine``."""
        kind = faiss.ScalarQuantizer.QT_8bit
        self.index = faiss.IndexScalarQuantizer(self.corpus.vectors.shape[1], kind, faiss.METRIC_INNER_PRODUCT)
        self.index.train(np.ascontiguousarray(self.corpus.vectors[:: max(1, len(self.corpus.vectors) // 50_000)]))
        self.fill()


class Graph(Flat):
    """FAISS's HNSW over 8-bit numbers, with the service's parameters."""

    links, build_width, search_width = 16, 128, 128

    def build(self) -> None:
        """See ``Engine``; with all cores, as one does once and for all."""
        kind = faiss.ScalarQuantizer.QT_8bit
        self.index = native.IndexHNSWSQ(self.corpus.vectors.shape[1], kind, self.links, faiss.METRIC_INNER_PRODUCT)
        self.index.hnsw.efConstruction = self.build_width
        faiss.omp_set_num_threads(THREADS)
        self.index.train(np.ascontiguousarray(self.corpus.vectors[:: max(1, len(self.corpus.vectors) // 50_000)]))
        self.fill()
        self.index.hnsw.efSearch = self.search_width

    def widen(self, width: int) -> None:
        """Search with this efSearch from now on."""
        self.index.hnsw.efSearch = width


class Tantivy:
    """tantivy with stemmed words and the passage's number, and a query parsed by its own parser."""

    def __init__(self, corpus: Corpus) -> None:
        self.corpus = corpus
        schema = tantivy.SchemaBuilder()
        schema.add_text_field("text", tokenizer_name="en_stem")
        schema.add_integer_field("id", stored=True, fast=True)
        self.index = tantivy.Index(schema.build())
        self.queries = [cleaned(text) for text in corpus.queries]

    def build(self) -> None:
        """See ``Engine``."""
        writer = self.index.writer(HEAP)
        for number, text in enumerate(self.corpus.wholes()):
            writer.add_document(tantivy.Document(text=text, id=number))
        writer.commit()
        writer.wait_merging_threads()
        self.index.reload()

    def search(self, query: int, depth: int) -> list[int]:
        """See ``Engine``; the numbers of at most ten are read, from the stored fields."""
        searcher = self.index.searcher()
        parsed = self.index.parse_query(self.queries[query], ["text"])
        hits = searcher.search(parsed, depth, count=False).hits[:10]
        return [int(searcher.doc(address)["id"][0]) for _, address in hits]

    def batch(self, threads: int) -> float:
        """Seconds of a thousand queries; there is no call for many, so as many threads as there are cores."""
        searcher = self.index.searcher()

        def one(n: int) -> None:
            parsed = self.index.parse_query(self.queries[n % len(self.queries)], ["text"])
            searcher.search(parsed, DEPTH, count=False)

        with ThreadPoolExecutor(threads) as pool:
            return timed(lambda: list(pool.map(one, range(AT_ONCE))))


def cleaned(text: str) -> str:
    """A query without what the parser takes for operators."""
    return "".join(character if character.isalnum() else " " for character in text).lower()
