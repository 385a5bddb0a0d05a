"""What stands behind a scorer that fails: the time each gets, and the order given where none answers."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

from ragline import context
from services.reranker.scorers import Candidate

OWN = 0.9  # of what is left to the request: the rest is for the way back to the caller
FAIR = 0.5  # of its usual time: a scorer that was given less is not to blame for being late


@dataclass(frozen=True, slots=True)
class Safety:
    """What is done about failures; the settings of the same names.

    ``fallback``: who is asked next, in this order. ``budget_s``: seconds for all that are asked.
    ``failures``: so many in a row, and a scorer is left alone for a while.
    """

    fallback: Sequence[str] = ()
    budget_s: float = 5.0
    failures: int = 5


class Budget:
    """The seconds that a request's scorers have together: ``seconds``, or less where its deadline leaves less.

    Raises TimedOut where that has passed.
    """

    def __init__(self, seconds: float) -> None:
        left = min(seconds, OWN * context.remaining_s(seconds / OWN))
        self.end = time.monotonic() + left
        self.fair = left >= FAIR * seconds

    def share(self, after: int) -> float:
        """The seconds for the next scorer, where ``after`` more stand behind it.

        A third of what is left stays for one behind it, half for two, always enough for each to have its turn.
        """
        return max(0.0, self.end - time.monotonic()) * 2 / (2 + after)


def given(candidates: Sequence[Candidate]) -> list[float]:
    """Scores from 1 down to 0 for candidates in the order given, which they never turn round.

    They are those of the search, the best 1 and the worst 0, where each candidate has one and they fall; else
    they fall evenly.
    """
    count = len(candidates)
    for scores in ([each.fused for each in candidates], [each.dense_score for each in candidates]):
        known = [score for score in scores if score is not None]
        if len(known) == count > 1 and known[0] > known[-1] and all(a >= b for a, b in pairwise(known)):
            return [(score - known[-1]) / (known[0] - known[-1]) for score in known]
    return [(count - place) / count for place in range(count)]
