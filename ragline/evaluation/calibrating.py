"""Fits what makes raw scores chances on half of the queries, and tells how true that is on the others."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from ragline.evaluation import EvaluationError
from ragline.evaluation.measuring import Judged
from ragline.evaluation.metrics import Floats

STEPS = 100
RIDGE = 1e-6  # keeps the fit finite where scores part the two kinds perfectly
ENOUGH = 1e-10
BINS = 10


@dataclass(frozen=True)
class Bin:
    """Passages of like chance: what was foretold on average, and the share that is relevant."""

    passages: int
    foretold: float
    relevant: float


@dataclass(frozen=True)
class Calibration:
    """``1 / (1 + e^(-slope (raw - middle)))``, with figures from queries that it was not fitted on.

    ``error`` is the mean distance of foretold and true shares over ``bins``; ``brier`` the mean squared error, and
    ``brier_constant`` that of foretelling the same share for all.
    """

    slope: float
    middle: float
    bins: tuple[Bin, ...]
    error: float
    brier: float
    brier_constant: float


def fitted(features: Floats, held: Floats, ridge: float = 1e-3) -> Floats:
    """Logistic regression by Newton's method with step halving; the last weight is the bias.

    ``features`` is (rows, columns) and ``held`` 0 or 1 a row; ``ridge`` is the weight of the squared weights.
    """
    rows = np.column_stack([features, np.ones(len(features))])
    weights = np.zeros(rows.shape[1])
    loss = penalised(rows, held, weights, ridge)
    for _ in range(STEPS):
        chance = chances(features, weights)
        slope = rows.T @ (chance - held) + ridge * weights
        curve = (rows * (chance * (1 - chance))[:, None]).T @ rows + ridge * np.eye(len(weights))
        step, size = np.linalg.solve(curve, slope), 1.0
        while (after := penalised(rows, held, weights - size * step, ridge)) > loss and size > ENOUGH:
            size /= 2
        weights = weights - size * step
        if loss - after < ENOUGH:
            break
        loss = after
    return weights


def penalised(rows: Floats, held: Floats, weights: Floats, ridge: float) -> float:
    """What the fit makes small: the negative log likelihood and the penalty."""
    at = rows @ weights
    return float(np.sum(np.logaddexp(0, at) - held * at) + ridge / 2 * weights @ weights)


def chances(features: Floats, weights: Floats) -> Floats:
    """The fitted chance of each row."""
    at = np.column_stack([features, np.ones(len(features))]) @ weights
    chance: Floats = 0.5 * (1 + np.tanh(at / 2))
    return chance


def calibrate(label: str, sets: Sequence[tuple[Sequence[Judged], Mapping[str, Mapping[str, int]]]]) -> Calibration:
    """Fit on every other query of each set; what is not judged counts as not relevant, as in the metrics.

    Raises EvaluationError where nothing can be fitted: too few answers, one kind only, or scores that fall where
    relevance rises.
    """
    halves: tuple[list[tuple[float, float]], list[tuple[float, float]]] = ([], [])
    for judged, grades in sets:
        sound = [one for one in judged if not one.answers[label].fault]
        for number, one in enumerate(sound):
            known = grades[one.query]
            halves[number % 2].extend(
                (raw, float(known.get(document, 0) > 0))
                for raw, document in zip(one.answers[label].raw, one.documents, strict=True)
            )
    learnt, tried = (np.array(half, dtype=np.float64).reshape(-1, 2) for half in halves)
    if not len(tried) or not 0 < learnt[:, 1].sum() < len(learnt) or not np.ptp(learnt[:, 0]):
        raise EvaluationError(f"{label} cannot be calibrated: it takes relevant and other passages, scored apart.")
    centre, spread = learnt[:, 0].mean(), learnt[:, 0].std()
    slope, bias = fitted((learnt[:, :1] - centre) / spread, learnt[:, 1], RIDGE) / [spread, 1.0]
    if slope <= 0:
        raise EvaluationError(f"{label} cannot be calibrated: its scores do not rise with relevance here.")
    middle = float(centre - bias / slope)
    return judged_by(float(slope), middle, tried, float(learnt[:, 1].mean()))


def judged_by(slope: float, middle: float, tried: Floats, share: float) -> Calibration:
    """A fit, held against passages that it has not seen."""
    foretold = chances(tried[:, :1] - middle, np.array([slope, 0.0]))
    order = np.argsort(foretold, kind="stable")
    bins = tuple(
        Bin(len(part), float(foretold[part].mean()), float(tried[part, 1].mean()))
        for part in np.array_split(order, BINS)
        if len(part)
    )
    error = sum(one.passages * abs(one.foretold - one.relevant) for one in bins) / len(tried)
    brier = float(np.mean((foretold - tried[:, 1]) ** 2))
    return Calibration(slope, middle, bins, error, brier, float(np.mean((share - tried[:, 1]) ** 2)))
