import json
import math
from pathlib import Path

import pytest
from PIL import Image

from ragline.evaluation import beir, plot, report
from ragline.evaluation.calibrating import Bin, Calibration
from ragline.evaluation.figures import Measured, measured, rows, worse
from ragline.evaluation.measuring import Answer, Judged
from ragline.evaluation.report import Comparison
from tests.ragline.evaluation import boats

LABELS = ("good", "bad", "ill", "none")
FOUND = ("bees/1", "trains/2", "trains/2", "trains/3")  # two passages of one document


@pytest.fixture
def part(tmp_path: Path) -> Measured:
    """Two queries: ``good`` mends the order of both, ``bad`` turns one round, ``ill`` answers one only."""
    data = beir.read(boats.write(tmp_path / "boats"))
    return measured(
        data,
        [
            Judged(
                "q3",
                FOUND,
                {
                    "good": Answer((2, 3, 1, 0), (0.1, 0.3, 0.9, 0.5), 0.004),
                    "bad": Answer((0, 3, 1, 2), (0.9, 0.3, 0.1, 0.5), 0.002),
                    "ill": Answer(seconds=9.0, fault="gave nan"),
                },
            ),
            Judged(
                "q2",
                ("trains/1", "bees/1"),
                {
                    "good": Answer((1, 0), (0.1, 0.2), 0.002),
                    "bad": Answer((0, 1), (0.2, 0.1), 0.002),
                    "ill": Answer((1, 0), (0.1, 0.2), 0.001),
                },
            ),
        ],
        LABELS,
    )


def compared(*parts: Measured) -> Comparison:
    fit = Calibration(12.0, 0.5, (Bin(3, 0.1, 0.0), Bin(3, 0.6, 0.7)), 0.1, 0.05, 0.2)
    return Comparison(parts, LABELS, "good", 0, {"candidates": 50}, {"good": fit}, ["bad cannot be calibrated."])


def test_values_by_hand(part: Measured) -> None:
    third = 1 / math.log2(3)
    ideal = 2 + third
    assert part.scorers["good"].ndcg == pytest.approx({"q3": 1.0, "q2": 1.0})
    # documents: bees/1, trains/2 (2), trains/3 (1)
    assert part.scorers["none"].ndcg == pytest.approx({"q3": (2 * third + 0.5) / ideal, "q2": third})
    assert part.scorers["bad"].ndcg == pytest.approx({"q3": (third + 1.0) / ideal, "q2": third})
    assert part.scorers["none"].mrr == {"q3": 0.5, "q2": 0.5}
    assert (part.recall, part.ceiling, part.candidates, part.queries) == (1.0, 1.0, 4, 2)
    assert [remark.split(" of ")[0] for remark in part.remarks] == [
        "1 judgements are",
        "1 queries have nothing relevant; they are left out",
    ]


def test_what_a_scorer_did_not_answer_is_counted_and_not_judged(part: Measured) -> None:
    ill = part.scorers["ill"]
    assert (ill.ndcg, ill.faults, ill.seconds, ill.pairs) == ({"q2": 1.0}, {"gave nan": 1}, [0.001], 2)
    _, _, row, _ = rows([part], LABELS, "good", 0)
    assert row.to_none is not None
    assert (row.to_none.wins, row.to_none.ties) == (1, 0)
    assert any("ill did not answer 1 of 2 queries itself" in remark for remark in report.remarks(compared(part)))


def test_rows(part: Measured) -> None:
    good, bad, _, none = rows([part], LABELS, "good", 0)
    assert good.to_reference is None
    assert bad.to_reference is not None
    assert bad.to_reference.losses == 2
    assert none.to_none is None
    assert none.to_reference == bad.to_reference or none.to_reference is not None
    assert good.p50_ms == pytest.approx(3.0)
    assert good.pairs_s == pytest.approx(6 / 0.006)
    assert (none.p50_ms, none.pairs_s) == (None, None)


def test_the_gate(part: Measured) -> None:
    good, bad, ill, none = rows([part], LABELS, "good", 0)
    assert worse(good, 0.0) == ""
    assert worse(bad, 0.01).startswith("bad loses 0.3")
    assert worse(bad, 0.9) == ""
    assert worse(ill, 0.9) == "ill did not answer 1 queries itself"
    assert worse(none, 0.01).startswith("none loses")
    [alone] = rows([part], ["none"], "none", 0)
    assert "nothing to be compared with" in worse(alone, 0.0)


def test_one_that_never_answered_has_no_figures(part: Measured) -> None:
    dumb = measured_without(part)
    row = rows([dumb], LABELS, "good", 0)[2]
    assert math.isnan(row.ndcg)
    assert (row.to_none, row.p50_ms) == (None, None)
    assert json.loads(report.as_json(compared(dumb)))["sets"][0]["rows"][2]["ndcg"] is None


def measured_without(part: Measured) -> Measured:
    """The set with ``ill`` having failed at everything."""
    values = part.scorers["ill"]
    nothing = type(values)(ndcg={}, mrr={}, seconds=[], pairs=0, faults={"gone": 2})
    return type(part)(**{**vars(part), "scorers": {**part.scorers, "ill": nothing}})


def test_the_files(part: Measured, tmp_path: Path) -> None:
    comparison = compared(part, measured_without(part))
    text = report.markdown(comparison)
    assert text.count("| good | 1.000 | 1.000 |") == 3
    assert "## mean of the sets" in text
    assert '    RERANKER_CALIBRATION={"good":{"slope":12.0,"middle":0.5}}' in text
    assert len({line.count("|") for line in text.splitlines() if line.startswith("| good")}) == 1
    plain = json.loads(report.as_json(comparison))
    assert plain["sets"][0]["scorers"]["good"]["ndcg"] == {"q3": 1.0, "q2": 1.0}
    assert len(plain["mean"]) == 4
    assert [len(list(table.rows)) for table in report.tables(comparison)] == [4, 4, 4]
    svg, png = plot.draw(comparison, tmp_path)
    assert "</svg>" in svg.read_text()
    with Image.open(png) as image:
        assert min(image.size) > 500
