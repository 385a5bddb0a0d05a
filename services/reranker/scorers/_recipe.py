"""How late interaction makes one score a passage: what each query token weighs, and what the first stage adds."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import numpy.typing as npt

from ragline.token_vectors import PackedTokens
from services.reranker.scorers._maxsim import Floats, best

SMALLEST_WEIGHT = 0.25  # a query token in every passage still says a little: "who", "where"
# Of ``first_stage``, chosen on tasks of training sets and half of the evaluation queries: docs/decisions/0025
PLACE = 10
MEANING = 6.0


def idf(ids: Sequence[int], passages: int, frequencies: Mapping[int, int]) -> Floats:
    """ln(1 + N / (1 + df)) of each word piece, float32; one that ``frequencies`` lacks is in no passage."""
    counts = np.array([frequencies.get(piece, 0) for piece in ids], dtype=np.float64)
    return np.log1p(passages / (1.0 + counts)).astype(np.float32)


def weights(rarity: Floats | None, words: npt.NDArray[np.bool_]) -> Floats:
    """How much each query token counts, (n,) float32: idf / max idf + 0.25.

    ``rarity`` is the idf, or None where nothing is known of the collection: all count the same. Pieces that
    are no word (``words`` false: no letter, no digit) count nothing, unless there are no others.
    """
    if not words.any():
        return np.ones(len(words), dtype=np.float32)
    most = 0.0 if rarity is None else float(rarity[words].max())
    if rarity is None or most <= 0.0:
        return words.astype(np.float32)
    return np.where(words, rarity / most + SMALLEST_WEIGHT, 0.0).astype(np.float32)


def maxsim(query: Floats, weight: Floats, passages: Sequence[PackedTokens]) -> Floats:
    """The weighted mean over the query's tokens of their best similarity: (passages,) float32 in [-1, 1].

    A query without tokens is as near to every passage: all 0.
    """
    if not len(query):
        return np.zeros(len(passages), dtype=np.float32)
    scores: Floats = (weight @ best(query, passages)) / weight.sum()
    return scores


def first_stage(
    dense: Sequence[float | None], sparse: Sequence[float | None], fused: Sequence[float | None], pieces: int
) -> Floats:
    """What the search holds against each candidate, (passages,): to be added to MaxSim, times a tenth or so.

    It is 6 f cosine + l (1 - f) BM25 / greatest BM25, where f is ``flatness`` and l ``lengthening`` of the query's
    ``pieces``, less the greatest of these: so the sum stays on the scale of MaxSim, whatever the query and however
    few the candidates. None stands for a candidate that this half of the search has no score for: it gets the
    least cosine given, or no BM25. Where neither half gave any, ``fused`` is used, scaled from 0 to 1.
    """
    length = lengthening(pieces)
    near = [score for score in dense if score is not None]
    words = shares(sparse)
    if not near:
        found = length * (words if words.any() else spread(fused))
    else:
        cosines = np.array([min(near) if score is None else score for score in dense], dtype=np.float32)
        flat = flatness(words)
        found = MEANING * flat * cosines + length * (1 - flat) * words
    held: Floats = (found - found.max(initial=-np.inf)).astype(np.float32)
    return held


def flatness(words: Floats) -> float:
    """How little the query's words tell the candidates apart: the tenth best BM25 as a share of the best.

    Near 1 all match about as well, as where the query names a topic, and the passage's whole meaning should
    count; near 0 a few stand out. Of fewer candidates it is the last; 1 where no word matched.
    """
    if not words.any():
        return 1.0
    ordered = np.sort(words)[::-1]
    return float(ordered[min(PLACE, len(ordered)) - 1])


def shares(scores: Sequence[float | None]) -> Floats:
    """Each score divided by the greatest; 0 for None and for what is below 0."""
    filled = np.array([0.0 if score is None else max(score, 0.0) for score in scores], dtype=np.float32)
    most = filled.max(initial=0.0)
    return filled / most if most > 0 else filled


def spread(scores: Sequence[float | None]) -> Floats:
    """Each score's place between the least (0) and the greatest (1); 0 for None."""
    given = [score for score in scores if score is not None]
    if not given or max(given) <= min(given):
        return np.zeros(len(scores), dtype=np.float32)
    least, width = min(given), max(given) - min(given)
    return np.array([0.0 if s is None else (s - least) / width for s in scores], dtype=np.float32)


def lengthening(pieces: int) -> float:
    """More for longer queries, which token matching serves less well: 1 up to 12 word pieces, 4 from 48 on."""
    return min(max(pieces / 12, 1.0), 4.0)
