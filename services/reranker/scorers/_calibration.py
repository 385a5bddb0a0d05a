"""Makes a scorer's raw scores chances from 0 to 1, so that one threshold means the same whatever scored.

Logistic calibration is of Platt, "Probabilistic outputs for support vector machines" (1999).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

Calibration = Callable[[float], float]


@dataclass(frozen=True, slots=True)
class Logistic:
    """1 / (1 + e^(-slope (raw - middle))): ``middle`` is the raw score of a chance of one half.

    Raises ValueError for numbers that would turn the order round or make no chance.
    """

    slope: float = 1.0
    middle: float = 0.0

    def __post_init__(self) -> None:
        """Refuse what is not a rising curve."""
        if not (math.isfinite(self.slope) and self.slope > 0 and math.isfinite(self.middle)):
            raise ValueError(f"slope must be over 0 and both finite, not {self.slope} and {self.middle}")

    def __call__(self, raw: float) -> float:
        """The chance; the exponent is never positive, so that no score overflows."""
        at = self.slope * (raw - self.middle)
        small = math.exp(-abs(at))
        return 1 / (1 + small) if at >= 0 else small / (1 + small)


def unit(raw: float) -> float:
    """A score that is from 0 to 1 already, held within."""
    return min(max(raw, 0.0), 1.0)


@dataclass(frozen=True, slots=True)
class Unit:
    """For scores that are from 0 to 1 already; no plain function, which a class would bind as a method."""

    def __call__(self, raw: float) -> float:
        """The score, held within."""
        return unit(raw)


UNIT: Calibration = Unit()
DEFAULT = Logistic()  # what a logit means


def calibrated(
    scorer: Any, raw: Sequence[float], overrides: Mapping[str, Calibration] | None = None, name: str | None = None
) -> list[float]:
    """The chance of each raw score, in [0, 1] and in the same order.

    The calibration is that in ``overrides`` of ``name`` (what the scorer was loaded as; else its own name), else
    the scorer's ``calibration``, else the logistic function.
    """
    chosen = (overrides or {}).get(name or scorer.name)
    if chosen is None:
        chosen = getattr(scorer, "calibration", None) or DEFAULT
    return [unit(chosen(value)) for value in raw]
