import numpy as np
import pytest

from ragline.evaluation import EvaluationError
from ragline.evaluation.calibrating import calibrate, chances, fitted
from ragline.evaluation.measuring import Answer, Judged

PASSAGES = 50


def answered(raw: list[list[float]]) -> list[Judged]:
    """A query a list; the documents are named by their places."""
    places = tuple(map(str, range(PASSAGES)))
    return [
        Judged(f"q{number}", places[: len(scores)], {"s": Answer(tuple(range(len(scores))), tuple(scores))})
        for number, scores in enumerate(raw)
    ]


def drawn(slope: float, middle: float) -> tuple[list[Judged], dict[str, dict[str, int]]]:
    """Queries whose passages are relevant by exactly that chance."""
    draw = np.random.default_rng(3)
    raw = draw.normal(middle, 2 / slope, (200, PASSAGES))
    held = draw.random(raw.shape) < 1 / (1 + np.exp(-slope * (raw - middle)))
    grades = {f"q{n}": {str(place): int(one) for place, one in enumerate(row)} for n, row in enumerate(held)}
    return answered(raw.tolist()), grades


@pytest.mark.parametrize(("slope", "middle"), [(1.0, 0.0), (30.0, 0.6), (0.01, 400.0)])
def test_finds_the_curve_that_made_the_labels(slope: float, middle: float) -> None:
    found = calibrate("s", [drawn(slope, middle)])
    assert found.slope == pytest.approx(slope, rel=0.1)
    assert found.middle == pytest.approx(middle, abs=0.15 / slope)
    assert found.error < 0.03
    assert found.brier < found.brier_constant
    assert sum(one.passages for one in found.bins) == 100 * PASSAGES
    assert [one.foretold for one in found.bins] == sorted(one.foretold for one in found.bins)


def test_scores_that_part_perfectly_stay_finite() -> None:
    judged = answered([[0.1, 0.2, 0.8, 0.9]] * 4)
    found = calibrate("s", [(judged, {one.query: {"2": 1, "3": 1} for one in judged})])
    assert 0.2 < found.middle < 0.8
    assert np.isfinite(found.slope)
    assert found.error < 0.01


@pytest.mark.parametrize(
    ("scores", "grades", "says"),
    [
        ([0.1, 0.9], {"0": 1}, "do not rise with relevance"),
        ([0.5, 0.5], {"0": 1}, "takes relevant and other passages"),
        ([0.1, 0.9], {}, "takes relevant and other passages"),
    ],
)
def test_says_why_there_is_none(scores: list[float], grades: dict[str, int], says: str) -> None:
    judged = answered([scores] * 4)
    with pytest.raises(EvaluationError, match=says):
        calibrate("s", [(judged, {one.query: grades for one in judged})])


def test_one_query_is_not_enough() -> None:
    with pytest.raises(EvaluationError, match="cannot be calibrated"):
        calibrate("s", [(answered([[0.1, 0.9]]), {"q0": {"1": 1}})])


def test_several_features_are_weighed() -> None:
    draw = np.random.default_rng(5)
    features = draw.normal(size=(4000, 2))
    held = (draw.random(4000) < chances(features, np.array([2.0, -1.0, 0.5]))).astype(np.float64)
    assert fitted(features, held) == pytest.approx([2.0, -1.0, 0.5], abs=0.2)
