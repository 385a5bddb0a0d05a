"""The check of claims is fitted on what it decides, and each time alike."""

import random

from eval.claims import Checked, precision, recall, refitted, table
from eval.rewriting import Claim


def checked(draw: random.Random, kind: str, *, true: bool) -> Checked:
    least = min(1.0, max(0.0, draw.gauss(0.6 if true else 0.3, 0.15)))
    passes = least >= 0.5
    return Checked(Claim("a claim", kind, true), passes, passes, least, least)


def made(seed: int = 0) -> list[Checked]:
    draw = random.Random(seed)
    true = [checked(draw, "stated", true=True) for _ in range(20)]
    return true + [checked(draw, "stated, one other word", true=False) for _ in range(80)]


def test_a_fit_comes_out_alike_whenever_and_in_whatever_order() -> None:
    rows = made()
    assert refitted(rows) == "WEAKEST=11.06, BIAS=-4.50"
    assert refitted(rows[::-1]) == refitted(made()) != refitted(made(1))


def test_claims_that_words_settle_are_not_fitted_on() -> None:
    settled = Checked(Claim("a claim", "copied", True), True, True, None, None)
    assert refitted([*made(), *[settled] * 50]) == refitted(made())


def test_precision_and_recall_are_of_what_passes() -> None:
    rows = [
        Checked(Claim("one", "copied", True), True, True, None, None),
        Checked(Claim("two", "stated", True), False, True, 0.6, 0.5),
        Checked(Claim("three", "stated, negated", False), True, False, 0.1, 0.1),
    ]
    assert (precision(rows, "by_words"), recall(rows, "by_words")) == (0.5, 0.5)
    assert (precision(rows, "by_judge"), recall(rows, "by_judge")) == (1.0, 1.0)
    assert "| stated, negated | false | 1 | 1.00 | 0.00 |" in table(rows)
