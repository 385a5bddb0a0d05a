"""The orders of passages are measured on the same questions, and on documents with an order."""

from pathlib import Path

from eval.order import ORDERS, Told, joined, prompts, ships, table
from ragline.evaluation.beir import Dataset
from services.generator.prompts import Order, Prompts, Template

ROWS = {
    "a1": {"title": "Brell", "text": "One."},
    "b1": {"title": "", "text": "Alone."},
    "a2": {"title": "Brell", "text": "Two."},
}


def written(template: Template) -> list[dict[str, str]]:
    return template.messages((), question="What?", passages=[], instructions="", no_answer="NO")


def test_passages_of_one_title_become_one_document() -> None:
    data, places = joined(Dataset("small", ROWS, {"q": "What?"}, {"q": ["Two"]}, {"q": {"a2": 1}}))
    assert {key: row["text"] for key, row in data.corpus.items()} == {"a1": "One.\n\nTwo.", "b1": "Alone."}
    for key, place in places.items():
        assert data.corpus[place.document]["text"][place.start : place.end] == ROWS[key]["text"]


def test_prompts_differ_in_their_order_alone(tmp_path: Path) -> None:
    names = prompts(tmp_path)
    made = [Prompts([tmp_path]).choose(names[order], "answer", "passages") for order in ORDERS]
    assert [each.order for each in made] == list(ORDERS)
    assert [written(each) for each in made] == [written(ships())] * len(ORDERS)


def test_the_order_that_ships_is_always_beside_the_others(tmp_path: Path) -> None:
    assert set(prompts(tmp_path, ["best_last"])) == {ships().order, "best_last"}


def test_each_order_is_held_against_the_one_that_ships() -> None:
    right, wrong = Told(True, True, True, 500), Told(False, True, True, 500)
    measured: dict[str, dict[Order, list[Told]]] = {
        "small": {"best_first": [right, right], "ends": [right, wrong]}
    }
    lines = table(measured, "ends").splitlines()
    assert lines[0] == "Questions: 2 of small"
    assert lines[-2].startswith("| best_first | 1.000 | +0.500 [+0.000, +1.000] | 1.000 | +0.000")
    assert lines[-1] == "| ends | 0.500 |  | 1.000 |  | 1.000 | 500 |"
