import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.reranker.scorers import Candidate, Parts
from services.reranker.scorers.overlap import Overlap, load, singular, terms


@pytest.fixture
def scorer(parts: Parts) -> Overlap:
    return load(parts)


@pytest.mark.parametrize(
    ("word", "stem"),
    [
        ("messages", "message"),
        ("policies", "policy"),
        ("pies", "py"),
        ("class", "class"),
        ("status", "status"),
        ("shoes", "shoes"),
        ("gas", "gas"),
    ],
)
def test_singular(word: str, stem: str) -> None:
    assert singular(word) == stem


def test_terms() -> None:
    assert terms("Café-Owners' CAFÉS, snake_case ½ 漢字ok") == [
        "cafe",
        "owner",
        "cafe",
        "snake",
        "case",
        "1",
        "2",
        "漢",
        "字",
        "ok",
    ]


async def test_order(scorer: Overlap) -> None:
    query = "retry of lost messages"
    texts = [
        "The office opens at nine.",
        "A message of the day.",
        "Lost luggage: a message comes later, when there is a retry.",
        "The retry of a lost message comes later.",
    ]
    scores = await scorer.score(query, [Candidate(text) for text in texts], None)
    assert list(scores) == sorted(scores)
    assert scores[0] == 0.0


async def test_a_query_of_common_words_still_counts(scorer: Overlap) -> None:
    there, not_there = await scorer.score("who was it", [Candidate("It was who?"), Candidate("Nine.")], None)
    assert there > not_there == 0.0


@given(st.text(max_size=60), st.text(max_size=200))
def test_scores_are_between_nought_and_one(query: str, text: str) -> None:
    scorer = Overlap(None, 0.6, 0.3, 0.3)  # type: ignore[arg-type]
    [score] = scorer.scores(query, [text])
    assert 0.0 <= score <= 1.0
