"""Hybrid search at 100k passages, the query's vector given, against FAISS and tantivy alone in the same rounds."""

from __future__ import annotations

import asyncio
import random
import statistics
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import faiss
import numpy as np
import tantivy
from numpy.typing import NDArray

from bench.report import Row
from ragline import threads
from ragline.errors import Unavailable
from ragline.settings import load
from ragline.v1.passage_pb2 import Passage, Statistics
from ragline.v1.reranker_pb2 import Candidate
from ragline.v1.retriever_pb2 import Document
from services.retriever.__main__ import open_store
from services.retriever.asking import Embedded, Options, Request
from services.retriever.search import Search
from services.retriever.settings import Settings
from services.retriever.stores import Content, Key, Store

PASSAGES = 100_000
PASSAGES_A_DOCUMENT = 1000
DIMENSIONS = 384
WORDS = 120
VOCABULARY = 50_000
QUERIES = 60
QUERY_WORDS = 8
ROUNDS = 3
DEPTH = 100
KEY = Key("default", "bench")

Vectors = NDArray[np.float32]


@dataclass(frozen=True)
class Corpus:
    """Texts whose words are as unevenly common as in a language, and vectors in clusters; queries of both."""

    texts: list[str]
    vectors: Vectors
    queries: list[str]
    query_vectors: Vectors


@dataclass(frozen=True)
class Given:
    """Stands where preprocess would be asked: the vectors are known, so that search alone is timed."""

    vectors: dict[str, Vectors]

    async def embed(self, texts: Sequence[str]) -> Embedded:
        """The vectors that were given for these queries."""
        return Embedded(np.stack([self.vectors[text] for text in texts]), "bench", [[] for _ in texts])


class Nobody:
    """No reranker is asked in this measurement."""

    async def rerank(
        self, query: str, candidates: Sequence[Candidate], statistics: Statistics | None
    ) -> list[tuple[int, float]]:
        """Raise: search does not ask unless a request does."""
        raise Unavailable("There is no reranker in this measurement.")


def measure(folder: Path) -> list[Row]:
    """p50 of hybrid search, and its ratio to the slower of the two bare engines."""
    corpus = make_corpus()
    store = open_store(load(Settings, data_dir=folder), threads.available())
    asyncio.run(fill(store, corpus))
    flat = faiss.IndexFlatIP(DIMENSIONS)
    flat.add(corpus.vectors)
    words = bare_tantivy(corpus.texts)
    dense, sparse, hybrid = [], [], []
    with ThreadPoolExecutor(threads.available()) as pool:
        given = Given(dict(zip(corpus.queries, corpus.query_vectors, strict=True)))
        search = Search(store, given, Nobody(), pool, Options(threads=threads.available()))
        for _ in range(ROUNDS):
            faiss.omp_set_num_threads(1)
            for query, vector in zip(corpus.queries, corpus.query_vectors, strict=True):
                dense.append(timed_dense(flat, vector))
                sparse.append(timed_sparse(words, query))
            hybrid += asyncio.run(timed_hybrid(search, corpus.queries))
    store.close()
    return rows(statistics.median(dense), statistics.median(sparse), statistics.median(hybrid))


def rows(dense: float, sparse: float, hybrid: float) -> list[Row]:
    """The figures, in ms and as a ratio."""
    detail = f"hybrid {hybrid:.1f} ms, FAISS alone {dense:.1f} ms, tantivy alone {sparse:.1f} ms"
    return [
        Row(f"search: hybrid at {PASSAGES:,} passages, p50 in ms", hybrid, "", None, detail),
        Row("search: hybrid p50 ÷ slower bare engine's p50", hybrid / max(dense, sparse), "", None, detail),
    ]


def make_corpus() -> Corpus:
    """The same corpus in every run."""
    dice = np.random.default_rng(0)
    vocabulary = [
        f"{a}{b}{c}" for a in "bdfgklmnprst" for b in ("a", "e", "i", "o", "ou", "ei") for c in range(700)
    ]
    vocabulary = vocabulary[:VOCABULARY]
    random.Random(0).shuffle(vocabulary)
    ranks = np.minimum(dice.zipf(1.2, (PASSAGES, WORDS)), VOCABULARY) - 1
    texts = [" ".join(vocabulary[rank] for rank in row) for row in ranks]
    centres = dice.standard_normal((500, DIMENSIONS)).astype(np.float32)
    vectors = centres[dice.integers(0, 500, PASSAGES)]
    vectors += 0.7 * dice.standard_normal(vectors.shape).astype(np.float32)
    vectors = unit(vectors)
    picked = dice.integers(0, PASSAGES, QUERIES)
    queries = [" ".join(texts[at].split()[n] for n in dice.integers(0, WORDS, QUERY_WORDS)) for at in picked]
    near = vectors[picked] + 0.03 * dice.standard_normal((QUERIES, DIMENSIONS)).astype(np.float32)
    return Corpus(texts, vectors, queries, unit(near))


def unit(vectors: Vectors) -> Vectors:
    """The vectors at length one."""
    lengths: Vectors = np.linalg.norm(vectors, axis=1, keepdims=True)
    return vectors / lengths


async def fill(store: Store, corpus: Corpus) -> None:
    """Put the corpus in."""
    for start in range(0, PASSAGES, PASSAGES_A_DOCUMENT):
        name = f"document{start}"
        part = slice(start, start + PASSAGES_A_DOCUMENT)
        passages = [
            Passage(id=f"{name}#{n}", document_id=name, text=text, start=0, end=len(text))
            for n, text in enumerate(corpus.texts[part])
        ]
        document = Document(id=name, source="", content_hash=name, metadata_json="{}")
        await store.upsert(KEY, Content(document, passages, corpus.vectors[part], "bench", [b""] * len(passages)))


def bare_tantivy(texts: Sequence[str]) -> tantivy.Index:
    """The texts in an index as one would make it by hand: stemmed words, ids kept."""
    schema = tantivy.SchemaBuilder()
    schema.add_text_field("text", tokenizer_name="en_stem")
    schema.add_integer_field("id", fast=True)
    index = tantivy.Index(schema.build())
    writer = index.writer(256_000_000)
    for number, text in enumerate(texts):
        writer.add_document(tantivy.Document(text=text, id=number))
    writer.commit()
    writer.wait_merging_threads()
    index.reload()
    return index


def timed_dense(index: faiss.Index, vector: Vectors) -> float:
    """Milliseconds of one search by FAISS."""
    began = time.perf_counter()
    index.search(vector[None], DEPTH)
    return (time.perf_counter() - began) * 1000


def timed_sparse(index: tantivy.Index, query: str) -> float:
    """Milliseconds of one search by tantivy."""
    began = time.perf_counter()
    index.searcher().search(index.parse_query(query, ["text"]), DEPTH, count=False)
    return (time.perf_counter() - began) * 1000


async def timed_hybrid(search: Search, queries: Sequence[str]) -> list[float]:
    """Milliseconds of each whole search, passages fetched."""
    times = []
    for query in queries:
        began = time.perf_counter()
        await search(Request(KEY, [query], top_k=10))
        times.append((time.perf_counter() - began) * 1000)
    return times
