import json

import pytest

from ragline.evaluation import EvaluationError
from ragline.evaluation.asked import Asked, parse, parse_all, settings


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("overlap", Asked("overlap", "overlap")),
        ('overlap={"k1": 0.9}', Asked("overlap", "overlap", {"k1": 0.9})),
        ('flat:overlap={"b": 0}', Asked("flat", "overlap", {"b": 0})),
        ("mine:Reranker", Asked("Reranker", "mine:Reranker")),
        ("my.own:make", Asked("make", "my.own:make")),
        ('old:mine:Reranker={"a": ":="}', Asked("old", "mine:Reranker", {"a": ":="})),
        ("short:late_interaction", Asked("short", "late_interaction")),
    ],
)
def test_reads_a_scorer(text: str, expected: Asked) -> None:
    assert parse(text) == expected


@pytest.mark.parametrize(
    ("texts", "says"),
    [
        (["a b"], "'a b' names no scorer; write name"),
        ([""], "names no scorer"),
        (["a:b:c:d"], "names no scorer"),
        (["overlap={"], "its options are not JSON"),
        (["overlap=3"], "its options are no JSON object"),
        (
            ["overlap", 'overlap={"b": 0}'],
            "'overlap' is there twice; tell them apart by labels, such as b:overlap",
        ),
        (["none:overlap"], "none is the order of the search"),
        (["x:none"], "none is the order of the search"),
        (["overlap:late_interaction"], "'overlap' is the name of another scorer"),
    ],
)
def test_says_what_is_wrong(texts: list[str], says: str) -> None:
    with pytest.raises(EvaluationError) as caught:
        parse_all(texts)
    assert says in str(caught.value)


def test_the_order_of_the_search_is_always_there() -> None:
    assert [asked.label for asked in parse_all(["overlap", "late_interaction"])][-1] == "none"
    assert [asked.label for asked in parse_all(["none", "overlap"])] == ["none", "overlap"]


def test_each_is_loaded_by_its_label() -> None:
    told = settings(parse_all(['overlap={"b": 0.5}', "mine:Reranker", 'c:overlap={"b": 1}']))
    assert (told["RERANKER_SCORER"], json.loads(told["RERANKER_SCORER_OPTIONS"])) == ("overlap", {"b": 0.5})
    assert json.loads(told["RERANKER_EXTRA_SCORERS"]) == {
        "Reranker": {"scorer": "mine:Reranker", "options": {}},
        "c": {"scorer": "overlap", "options": {"b": 1}},
    }
