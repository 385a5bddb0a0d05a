"""The corpus as the documents that preprocess would send: a real text each, mixtures a thousand at a time."""

from __future__ import annotations

import json
import zlib
from collections.abc import Iterator, Sequence
from itertools import islice

import numpy as np
from numpy.typing import NDArray

from bench.retrieval.corpus import Corpus, Vectors
from ragline.v1.passage_pb2 import Passage
from ragline.v1.retriever_pb2 import Document
from services.retriever.stores import Content

OF_A_DOCUMENT = 1000  # passages of a document of mixtures
PIECES = 30_000  # distinct word pieces that words are counted as
FINGERPRINT = "bench"


def contents(corpus: Corpus) -> Iterator[Content]:
    """Every document; its metadata has a ``place``, by which a filter chooses a share of the corpus."""
    real = int(corpus.about["real"])
    places = np.random.default_rng(3).permutation(real).tolist()
    texts = corpus.texts()
    for n, (title, text) in enumerate(islice(texts, real)):
        yield content(n, title, [text], corpus.vectors[n : n + 1], places[n])
    start = real
    while start < len(corpus.vectors):
        end = min(len(corpus.vectors), (start // OF_A_DOCUMENT + 1) * OF_A_DOCUMENT)
        part = [text for _, text in islice(texts, end - start)]
        yield content(start, "", part, corpus.vectors[start:end], start)
        start = end


def content(first: int, title: str, texts: Sequence[str], vectors: Vectors, place: int) -> Content:
    """A document whose passages are those of the corpus from number ``first`` on."""
    name = f"p{first}"
    spans = np.cumsum([0, *(len(text) + 1 for text in texts)]).tolist()
    return Content(
        Document(
            id=name,
            title=title,
            source="\n".join(texts),
            metadata_json=json.dumps({"place": place}),
            content_hash=name,
            media_type="text/plain",
        ),
        [Passage(text=text, start=at, end=at + len(text)) for at, text in zip(spans, texts, strict=False)],
        np.ascontiguousarray(vectors),
        FINGERPRINT,
        [pieces(text).tobytes() for text in texts],
    )


def allowed(corpus: Corpus, below: int) -> NDArray[np.int64]:
    """The numbers of the passages whose document has a place below ``below``."""
    real = int(corpus.about["real"])
    places = np.random.default_rng(3).permutation(real)
    starts = np.arange(real, len(corpus.vectors))
    starts = np.maximum(real, starts // OF_A_DOCUMENT * OF_A_DOCUMENT)
    return np.flatnonzero(np.concatenate([places, starts]) < below)


def number(passage_id: str) -> int:
    """The number in the corpus of a passage that was found."""
    first, _, ordinal = passage_id.removeprefix("p").partition("#")
    return int(first) + int(ordinal)


def pieces(text: str) -> NDArray[np.uint32]:
    """Distinct numbers of a text's words, ascending: as the embedder's word pieces are, about."""
    return np.array(sorted({zlib.crc32(word.encode()) % PIECES for word in text.split()}), dtype="<u4")
