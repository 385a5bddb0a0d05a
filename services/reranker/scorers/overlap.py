"""Scores by the words that a query and a passage share: no weights, no training, the same on every machine."""

from __future__ import annotations

import re
import unicodedata
from collections import Counter
from collections.abc import Hashable, Mapping, Sequence
from itertools import pairwise
from typing import Annotated, Any

from pydantic import Field

from services.reranker.pool import Pool
from services.reranker.scorers import Candidate, Parts, Statistics
from services.reranker.scorers._calibration import Logistic

# Scripts written without spaces: each character is a word, and neighbours count as phrases.
UNSPACED = "\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff"
WORDS = re.compile(rf"[{UNSPACED}]|[^\W_{UNSPACED}]+")
COMMON = frozenset(
    WORDS.findall(
        "a an and are as at be been by can did do does for from had has have how i if in is it its me my of on or "
        "our should so that the their them then there these they this to was we were what when where which who "
        "whom whose why will with would you your"
    )
)
FULL_PASSAGE = 120  # words: a passage of this length is neither favoured nor held back


def load(
    parts: Parts,
    *,
    k1: Annotated[float, Field(ge=0)] = 0.6,
    b: Annotated[float, Field(ge=0, le=1)] = 0.3,
    phrases: Annotated[float, Field(ge=0, le=1)] = 0.3,
) -> Overlap:
    """The scorer; ``k1`` and ``b`` as in BM25, ``phrases`` is the share of the score for words side by side."""
    return Overlap(parts.pool, k1, b, phrases)


class Overlap:
    """From 0 (no word of the query) to 1 (all of them, in the query's order, again and again).

    BM25's saturation of a word's count (Robertson et al., TREC-3, 1994) without its IDF: of the passages
    alone nobody knows how rare a word is in the collection.
    """

    name = "overlap"
    calibration = Logistic(slope=14.8, middle=0.509)  # docs/decisions/0025

    def __init__(self, pool: Pool, k1: float, b: float, phrases: float) -> None:
        self.pool = pool
        self.k1 = k1
        self.b = b
        self.phrases = phrases

    async def score(
        self, query: str, passages: Sequence[Candidate], statistics: Statistics | None
    ) -> Sequence[float]:
        """One score a passage; the first stage's scores and the statistics are not used."""
        texts = [passage.text for passage in passages]
        return await self.pool.run(lambda: self.scores(query, texts)) if texts else []

    def scores(self, query: str, texts: Sequence[str]) -> list[float]:
        """The shares of the query's words, and of its pairs of neighbours, that each text holds."""
        every = terms(query)
        asked = [term for term in every if term not in COMMON] or every
        singles, pairs = list(dict.fromkeys(asked)), list(dict.fromkeys(pairwise(asked)))
        share = self.phrases if pairs else 0.0
        scores = []
        for text in texts:
            held = [term for term in terms(text) if term not in COMMON or term in singles]
            found = (1 - share) * self.held(singles, Counter(held), len(held))
            scores.append(found + (share * self.held(pairs, Counter(pairwise(held)), len(held)) if pairs else 0.0))
        return scores

    def held(self, wanted: Sequence[Hashable], counts: Mapping[Any, int], length: int) -> float:
        """The mean over what is wanted of its saturated count, in [0, 1]."""
        slack = self.k1 * (1 - self.b + self.b * length / FULL_PASSAGE)
        found = [counts[each] for each in wanted if each in counts]
        return sum(count / (count + slack) for count in found) / max(len(wanted), 1)


def terms(text: str) -> list[str]:
    """The words of a text in order: lower case, without accents, plurals cut."""
    plain = unicodedata.normalize("NFKD", text).casefold()
    return [singular(word) for word in WORDS.findall("".join(c for c in plain if not unicodedata.combining(c)))]


def singular(word: str) -> str:
    """The word without an English plural's ending (Harman's S stemmer, JASIS 42(1), 1991)."""
    if len(word) < 4 or not word.endswith("s"):
        return word
    if word.endswith("ies"):
        return word if word.endswith(("eies", "aies")) else word[:-3] + "y"
    if word.endswith("es"):
        return word if word.endswith(("aes", "ees", "oes")) else word[:-1]
    return word if word.endswith(("us", "ss")) else word[:-1]
