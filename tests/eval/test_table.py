import pytest

from eval.table import ALLOWED, gain, gained, markdown, steady, verdicts


def measured(**means: list[float]) -> dict[str, dict[str, list[float]]]:
    return {system: {"ndcg@10": values} for system, values in means.items()}


def test_one_row_a_set_with_its_best_in_bold() -> None:
    sets = {"small": measured(sparse=[0.5, 0.7], dense=[0.9, 0.9]), "other": measured(dense=[0.25])}
    assert markdown(sets).splitlines() == [
        "| nDCG@10 | sparse | dense |",
        "|---|---|---|",
        "| small, 2 queries | 0.600 | **0.900** |",
        "| other, 1 queries |  | **0.250** |",
    ]


def test_each_joined_mode_is_held_against_the_better_single_one() -> None:
    values = measured(sparse=[0.2, 0.4], dense=[0.6, 0.4], hybrid=[0.6, 0.39], auto=[0.6, 0.39], rrf=[0.0, 0.0])
    hybrid, auto = verdicts(values)
    assert (hybrid.system, hybrid.single, auto.system) == ("hybrid", "dense", "auto")
    assert hybrid.difference == pytest.approx(-0.005)
    assert hybrid.low <= hybrid.difference <= hybrid.high
    assert not hybrid.holds
    assert auto.holds
    assert auto.difference >= -ALLOWED["auto"]


def test_reranking_is_held_against_the_best_fusion() -> None:
    values = measured(dense=[0.9, 0.9], rrf=[0.6, 0.4], hybrid=[0.5, 0.4]) | {
        "hybrid + reranker": {"ndcg@10": [0.6, 0.5]},
        "auto + reranker": {"ndcg@10": [1.0, 1.0]},
    }
    one = gain(values)
    assert (one.fusion, one.before, one.after) == ("rrf", 0.5, 0.55)
    assert one.low <= one.difference <= one.high


def test_gains_end_in_verdicts() -> None:
    small = measured(rrf=[0.5, 0.5], auto=[0.4, 0.5]) | {"hybrid + reranker": {"ndcg@10": [0.6, 0.5]}}
    other = measured(rrf=[0.3], auto=[0.5]) | {"hybrid + reranker": {"ndcg@10": [0.48]}}
    sets = {"small": small, "other": other}
    assert steady(sets) == "auto"
    lines = gained(sets).splitlines()
    assert lines[2].startswith("| small | 0.500 | rrf | 0.550 | +0.050 | [")
    assert lines[-4:] == [
        "beside the best fusion of each set: mean gain +0.015, at least +0.02: DOES NOT HOLD",
        "beside the best fusion of each set: worst set -0.020, at least -0.015: DOES NOT HOLD",
        "beside auto, best in the mean: mean gain +0.040, at least +0.02: holds",
        "beside auto, best in the mean: worst set -0.020, at least -0.015: DOES NOT HOLD",
    ]
