"""Deterministic texts of a given length, so that every run measures the same work."""

from __future__ import annotations

import random

VOCABULARY = """
harbour engine river market signal library winter account garden window council railway mountain question
teacher season bridge paper station letter journey village measure weather kitchen history island machine
morning evening doctor student company service number country problem science music travel report budget
energy water light sound metal forest animal summer planet energy theory method result answer document
"""


def texts(count: int, words: int, seed: int = 0) -> list[str]:
    """``count`` different texts of ``words`` words each."""
    dice = random.Random(seed)
    words_known = VOCABULARY.split()
    return [" ".join(dice.choice(words_known) for _ in range(words)) for _ in range(count)]
