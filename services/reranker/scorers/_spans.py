"""Scores pieces of passages by the token vectors that were kept of the whole: nothing is encoded for it.

A piece is scored by MaxSim over its own tokens alone. Their vectors were made within the passage, so they know
what stands around them: "it" what it is, and a sentence the heading that names its subject.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
from cachetools import LRUCache

from ragline.token_vectors import PackedTokens, QueryTokens, digest
from services.reranker.scorers import Candidate
from services.reranker.scorers import _recipe as recipe
from services.reranker.scorers._maxsim import Floats
from services.reranker.scorers._token_vectors import TokenVectors

MB = 1024 * 1024
Offsets = npt.NDArray[np.int32]


class Places:
    """Where in their texts the kept word pieces stand; those of texts asked for lately stay, in ``most_mb``."""

    def __init__(self, vectors: TokenVectors, most_mb: int) -> None:
        self.vectors = vectors
        self.known: LRUCache[str, Offsets] = LRUCache(most_mb * MB, getsizeof=size)

    async def of(self, texts: Sequence[str]) -> list[Offsets]:
        """For each text the [start, end) of its kept word pieces, ascending."""
        keys = [digest(text) for text in texts]
        found = {key: offsets for key in keys if (offsets := self.known.get(key)) is not None}
        missing = {key: text for key, text in zip(keys, texts, strict=True) if key not in found}
        if missing:
            made = await self.vectors.offsets(list(missing.values()))
            for key, offsets in zip(missing, made, strict=True):
                found[key] = offsets.copy()  # else all word pieces of the text would stay with the kept ones
                if size(offsets) <= self.known.maxsize:
                    self.known[key] = found[key]
        return [found[key] for key in keys]


def size(offsets: Offsets) -> int:
    """About how many bytes an entry takes, with its key."""
    return offsets.nbytes + 256


def pieces(packed: PackedTokens, offsets: Offsets, spans: Sequence[tuple[int, int]]) -> list[PackedTokens]:
    """The tokens of each span [start, end) of a text: those that stand in it, also where only partly."""
    starts = np.searchsorted(offsets[:, 1], [start for start, _ in spans], side="right")
    ends = np.searchsorted(offsets[:, 0], [end for _, end in spans], side="left")
    return [packed.part(int(start), max(int(start), int(end))) for start, end in zip(starts, ends, strict=True)]


def cut(
    kept: Sequence[PackedTokens], places: Sequence[Offsets], passages: Sequence[Candidate]
) -> list[list[PackedTokens]]:
    """The tokens of each span of each passage."""
    return [
        pieces(packed, offsets, passage.spans)
        for packed, offsets, passage in zip(kept, places, passages, strict=True)
    ]


def unread(
    made: Sequence[Sequence[PackedTokens]], places: Sequence[Offsets], passages: Sequence[Candidate]
) -> dict[tuple[int, int], str]:
    """The texts of spans behind the last token, by passage and span: the model had read its fill before them."""
    return {
        (at, n): passage.text[start:end]
        for at, passage in enumerate(passages)
        for n, (start, end) in enumerate(passage.spans)
        if not len(made[at][n]) and start < end and (not len(places[at]) or start >= places[at][-1, 1])
    }


def scores(query: QueryTokens, weight: Floats, made: Sequence[Sequence[PackedTokens]]) -> list[list[float]]:
    """One score a span of each passage, as MaxSim gives it: from -1, where a span has no token, to 1."""
    flat = iter(recipe.maxsim(query.vectors, weight, [piece for each in made for piece in each]).tolist())
    return [[next(flat) for _ in each] for each in made]
