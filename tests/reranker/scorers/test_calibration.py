import math
from dataclasses import dataclass

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ragline.settings import SettingsError, load
from services.reranker.scorers._calibration import UNIT, Calibration, Logistic, calibrated
from services.reranker.settings import Settings

finite = st.floats(allow_nan=False, allow_infinity=False)


@dataclass
class Plain:
    name: str = "plain"


@dataclass
class Own(Plain):
    calibration: Calibration = UNIT


def test_the_middle_is_a_chance_of_one_half() -> None:
    assert Logistic(slope=7.0, middle=0.4)(0.4) == 0.5


def test_a_scorer_without_a_calibration_gives_logits() -> None:
    assert calibrated(Plain(), [0.0, math.log(3)]) == pytest.approx([0.5, 0.75])


def test_a_scorer_may_have_its_own() -> None:
    assert calibrated(Own(), [-0.5, 0.25, 7.0]) == [0.0, 0.25, 1.0]


def test_what_it_is_loaded_as_is_overridden() -> None:
    overrides = {"second": Logistic(slope=1.0, middle=7.0)}
    assert calibrated(Own(), [7.0], overrides, name="second") == [0.5]
    assert calibrated(Own(), [7.0], overrides) == [1.0]
    assert calibrated(Plain("second"), [7.0], overrides) == [0.5]


@given(st.floats(1e-6, 1e6), finite, st.lists(finite))
def test_chances_keep_the_order(slope: float, middle: float, raw: list[float]) -> None:
    chances = calibrated(Own(calibration=Logistic(slope, middle)), sorted(raw))
    assert chances == sorted(chances)
    assert all(0.0 <= chance <= 1.0 for chance in chances)


@pytest.mark.parametrize("slope", [0.0, -1.0, math.nan, math.inf])
def test_a_curve_must_rise(slope: float) -> None:
    with pytest.raises(ValueError, match="slope"):
        Logistic(slope)


def test_a_setting_says_what_a_score_means(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RERANKER_CALIBRATION", '{"mine": {"slope": 2, "middle": 0.5}}')
    assert load(Settings).calibration == {"mine": Logistic(2.0, 0.5)}


def test_a_setting_that_turns_the_order_round_stops_the_start(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RERANKER_CALIBRATION", '{"mine": {"slope": -2, "middle": 0.5}}')
    with pytest.raises(SettingsError, match="RERANKER_CALIBRATION"):
        load(Settings)
