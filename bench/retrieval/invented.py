"""A corpus without data and model: words as unevenly common as in a language, vectors in clusters."""

from __future__ import annotations

import random
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from bench.retrieval.corpus import Block, Corpus, Vectors, write
from bench.retrieval.mixing import unit

WORDS = 120
VOCABULARY = 50_000
QUERY_WORDS = 8
DIMENSIONS = 384
CENTRES = 500
SPREAD = 0.7
NEAR = 0.03
BLOCK = 1000
ORIGIN = "invented texts and vectors"


def make(folder: Path, passages: int, questions: int) -> Corpus:
    """The same corpus in every run; each question is a few words of one passage, and a vector near its own."""
    dice = np.random.default_rng(0)
    centres = dice.standard_normal((CENTRES, DIMENSIONS)).astype(np.float32)
    blocks = list(made(passages, centres, dice))
    asked, near = [], []
    for at in dice.integers(0, passages, questions).tolist():
        block, place = blocks[at // BLOCK], at % BLOCK
        words = block.texts[place][1].split()
        picked = " ".join(words[n] for n in dice.integers(0, WORDS, QUERY_WORDS))
        asked.append((picked, {at: 1}))
        near.append(block.vectors[place] + NEAR * dice.standard_normal(DIMENSIONS).astype(np.float32))
    about = {"origin": ORIGIN, "passages": passages, "real": 0}
    return write(folder, about, blocks, asked, unit(np.array(near)))


def made(passages: int, centres: Vectors, dice: np.random.Generator) -> Iterator[Block]:
    """The passages, block by block."""
    vocabulary = [
        f"{a}{b}{c}" for a in "bdfgklmnprst" for b in ("a", "e", "i", "o", "ou", "ei") for c in range(700)
    ][:VOCABULARY]
    random.Random(0).shuffle(vocabulary)
    for start in range(0, passages, BLOCK):
        count = min(BLOCK, passages - start)
        ranks = np.minimum(dice.zipf(1.2, (count, WORDS)), VOCABULARY) - 1
        vectors = centres[dice.integers(0, CENTRES, count)]
        vectors = vectors + SPREAD * dice.standard_normal(vectors.shape).astype(np.float32)
        yield Block([("", " ".join(vocabulary[rank] for rank in row)) for row in ranks], unit(vectors))
