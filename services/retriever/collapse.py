"""Finds passages that say nearly the same as a better one."""

from __future__ import annotations

import re
import unicodedata
from collections import Counter, defaultdict
from collections.abc import Sequence

import numpy as np

from services.retriever.stores import Vectors

WORD = re.compile(r"\w+")
SHINGLE = 3  # words


def leaders(texts: Sequence[str], vectors: Vectors | None, overlap: float, cosine: float) -> list[int]:
    """For each text, best first, the place of the first that it repeats; its own where it repeats none.

    It repeats one that has the same words, or shares with it at least ``overlap`` of the runs of three words
    that either has (Broder 1997, resemblance), or whose vector (unit length) is within ``cosine``.
    """
    shown: list[int] = []
    result: list[int] = []
    runs: dict[object, list[int]] = defaultdict(list)
    sizes: dict[int, int] = {}
    for place, text in enumerate(texts):
        mine = shingles(text)
        leader = resembled(mine, runs, sizes, overlap)
        if leader is None and vectors is not None and shown:
            near = np.flatnonzero(vectors[shown] @ vectors[place] >= cosine)
            leader = shown[int(near[0])] if len(near) else None
        result.append(place if leader is None else leader)
        if leader is None:
            shown.append(place)
            sizes[place] = len(mine)
            for run in mine:
                runs[run].append(place)
    return result


def resembled(
    mine: frozenset[object], runs: dict[object, list[int]], sizes: dict[int, int], overlap: float
) -> int | None:
    """The first of those shown that shares enough runs with this one."""
    shared = Counter(place for run in mine for place in runs.get(run, ()))
    enough = [place for place, count in shared.items() if count >= overlap * (len(mine) + sizes[place] - count)]
    return min(enough, default=None)


def shingles(text: str) -> frozenset[object]:
    """The runs of three words of a text, without case and compatibility forms; a shorter text is one run."""
    words = WORD.findall(unicodedata.normalize("NFKC", text).casefold())
    if not words:
        return frozenset([text])
    if len(words) <= SHINGLE:
        return frozenset([tuple(words)])
    return frozenset(zip(words, words[1:], words[2:], strict=False))
