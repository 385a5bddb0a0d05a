"""More passages than there are texts: spans of real ones mixed, and their vectors mixed in the same shares."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np

from bench.retrieval.corpus import Block, Vectors

SOURCES = 4  # at most, of one passage
AROUND = 40  # texts from which sources are taken: of one set, often of one page
WORDS = 110  # of a passage, on average
NOISE = 0.35  # length of what is added to a vector of length one


def mixed(texts: Sequence[str], vectors: Vectors, count: int, block: int = 1000) -> Iterator[Block]:
    """``count`` passages, the same in every run, each of spans of neighbours among ``texts``."""
    dice = np.random.default_rng(7)
    words = [text.split() for text in texts]
    for start in range(0, count, block):
        yield one_block(words, vectors, min(block, count - start), dice)


def one_block(words: Sequence[Sequence[str]], vectors: Vectors, count: int, dice: np.random.Generator) -> Block:
    """The next ``count`` passages."""
    made = []
    mixtures = np.empty((count, vectors.shape[1]), dtype=np.float32)
    for n in range(count):
        anchor = int(dice.integers(len(words)))
        parts: list[str] = []
        shares, sources = [], []
        for source in np.clip(anchor + dice.integers(-AROUND, AROUND + 1, SOURCES), 0, len(words) - 1):
            span = cut(words[source], int(WORDS / SOURCES * dice.uniform(0.4, 1.6)), dice)
            parts += span
            shares.append(len(span))
            sources.append(source)
        made.append(("", " ".join(parts)))
        mixtures[n] = np.asarray(shares, dtype=np.float32) @ vectors[sources]
    noise = dice.standard_normal(mixtures.shape).astype(np.float32)
    return Block(made, unit(unit(mixtures) + NOISE * unit(noise)))


def cut(words: Sequence[str], length: int, dice: np.random.Generator) -> Sequence[str]:
    """``length`` words in a row, or all where there are fewer."""
    start = int(dice.integers(max(1, len(words) - length + 1)))
    return words[start : start + max(1, length)]


def unit(vectors: Vectors) -> Vectors:
    """The vectors at length one."""
    lengths: Vectors = np.linalg.norm(vectors, axis=-1, keepdims=True)
    return (vectors / np.maximum(lengths, np.float32(1e-9))).astype(np.float32)
