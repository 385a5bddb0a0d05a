"""Embeds by hashing words and letter groups into a fixed number of dimensions: no weights, for tests and trials.

Weinberger et al. 2009 (feature hashing, with signs); letter groups as in Bojanowski et al. 2017 (fastText).
"""

from __future__ import annotations

import hashlib
import math
import re
import unicodedata
from collections import Counter
from collections.abc import Iterator, Sequence
from functools import lru_cache
from pathlib import Path
from typing import Annotated

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from services.preprocess.embedders import Embedded, Parts

WORD = re.compile(r"\w+")
GROUP = 4
GROUP_WEIGHT = 0.4
MAX_WORDS = 8192
VERSION = 1


class Hashing:
    """An ``Embedder`` whose cosine is the weighted overlap of words and of their letter groups."""

    tokenizer_file: Path | None = None

    def __init__(self, dimensions: int) -> None:
        self.name = f"hashing-{dimensions}"
        self.fingerprint = f"hashing-{VERSION}-{dimensions}"
        self.dimensions = dimensions
        self.max_tokens = MAX_WORDS

    def count_tokens(self, texts: Sequence[str]) -> list[int]:
        """The words of each text."""
        return [len(words(text)) for text in texts]

    def embed(self, texts: Sequence[str], *, token_vectors: bool = False) -> Embedded:
        """As ``Embedder.embed``; there are no token vectors."""
        read = [words(text) for text in texts]
        kept = [each[:MAX_WORDS] for each in read]
        vectors = [self.vector(each) for each in kept]
        return Embedded(
            vectors=np.array(vectors, np.float32).reshape(len(texts), self.dimensions),
            tokens=[len(each) for each in kept],
            # 22 bits: statistics count word pieces in an array that is as long as the largest id.
            token_ids=[np.unique(np.array([digest(word) >> 42 for word in each], np.uint32)) for each in kept],
            truncated=[len(each) > MAX_WORDS for each in read],
        )

    def vector(self, text: Sequence[str]) -> NDArray[np.float64]:
        """The unit vector of a list of words; of none, that of the empty word."""
        total = np.zeros(self.dimensions)
        for word, count in Counter(text or [""]).items():
            # Long words say more than short ones, and repeats less and less.
            weight = math.log(2 + len(word)) * (1 + math.log(count))
            for feature, share in features(word):
                number = digest(feature)
                total[(number >> 1) % self.dimensions] += share * weight * (1 if number & 1 else -1)
        norm = np.linalg.norm(total)
        return total / norm if norm else np.eye(1, self.dimensions)[0]


def words(text: str) -> list[str]:
    """Runs of letters, digits and underscores, with case and compatibility forms made equal."""
    return WORD.findall(unicodedata.normalize("NFKC", text).casefold())


def features(word: str) -> Iterator[tuple[str, float]]:
    """The word and its groups of four letters, each with its share of the weight."""
    yield word, 1.0
    framed = f"<{word}>"
    groups = [framed[at : at + GROUP] for at in range(len(framed) - GROUP + 1)] if len(word) > 2 else []
    for group in groups:
        yield f"#{group}", GROUP_WEIGHT / math.sqrt(len(groups))


@lru_cache(maxsize=65536)
def digest(feature: str) -> int:
    """A 64-bit hash that is the same in every process."""
    return int.from_bytes(hashlib.blake2b(feature.encode("utf-8", "replace"), digest_size=8).digest(), "little")


def load(parts: Parts, *, dimensions: Annotated[int, Field(ge=8, le=8192)] = 256) -> Hashing:
    """``dimensions`` of the vectors; fewer make unlike words collide more often."""
    return Hashing(dimensions)
