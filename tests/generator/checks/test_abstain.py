"""When not to answer, and what is said then."""

import math
from dataclasses import replace

import pytest

from ragline.v1.passage_pb2 import Passage
from services.generator.checks import abstain
from services.generator.checks.abstain import CALIBRATIONS, LEXICAL, Features
from services.generator.checks.lookalike import Signs
from tests.generator import world


def test_a_better_sentence_is_a_better_chance() -> None:
    for calibration in (LEXICAL, *CALIBRATIONS.values()):
        chances = [calibration.chance(Features(score / 10, 0.1)) for score in range(11)]
        assert chances == sorted(chances)
        assert 0 < chances[0] < 0.3
        assert 0.7 < chances[-1] < 1


def test_each_sign_lowers_the_chance_and_the_terms_say_by_how_much() -> None:
    calibration = CALIBRATIONS["late_interaction"]
    plain = Features(0.55, 0.2, Signs(lead=0.1))
    for name in ("negated", "opposed", "number", "name"):
        turned = replace(plain, signs=replace(plain.signs, **{name: 1.0}))
        assert calibration.chance(turned) < calibration.chance(plain) - 0.05
        _, asked = calibration.terms(turned)
        assert asked[name] < 0
        assert LEXICAL.chance(turned) == LEXICAL.chance(plain)
    product = math.prod(1 / (1 + math.exp(-sum(terms.values()))) for terms in calibration.terms(plain))
    assert calibration.chance(plain) == pytest.approx(product)


def test_a_few_passages_have_no_gap() -> None:
    assert math.isnan(abstain.gap([0.5, 0.4]))
    assert abstain.gap([0.1, 0.5, 0.3, 0.1]) == 0.5 - 0.5 / 3
    calibration = CALIBRATIONS["late_interaction"]
    assert calibration.chance(Features(0.5, math.nan)) == calibration.chance(
        Features(0.5, calibration.typical_gap)
    )


def test_the_refusal_names_the_documents() -> None:
    passages = [world.passage(name) for name in ("queue", "queue", "brell")]
    said = abstain.refusal("manuals", passages)
    assert said.startswith("I found nothing in collection 'manuals' that answers this.")
    assert said.endswith("The closest passages are from Message queue and Brell.")


def test_the_refusal_has_no_marker_and_is_short() -> None:
    said = abstain.refusal("manuals", [Passage(title="[1] " + "x" * 500), Passage(document_id="a.txt")])
    assert "[1]" not in said
    assert len(said) < 300
    assert "a.txt" in said
