"""Which sentences of a text are central."""

from hypothesis import given
from hypothesis import strategies as st

from services.generator.checks.evidence import Sentence
from services.generator.summaries import centrality

LAKE = [
    "Lake Orvan is the deepest lake of the region.",
    "The deepest lake of the region feeds the river.",
    "My cousin plays the trumpet on Sundays.",
    "The river leaves Lake Orvan in the south of the region.",
    "Contents",
]


def found(texts: list[str]) -> list[Sentence]:
    return [Sentence(0, at, at + 1, text) for at, text in enumerate(texts)]


def test_what_the_others_share_comes_first() -> None:
    ranked = [each.start for each in centrality.ranked(found(LAKE))]
    assert set(ranked[:3]) == {0, 1, 3}
    assert ranked[-1] == 4


@given(st.lists(st.text(max_size=40), max_size=12))
def test_any_text_is_ranked(texts: list[str]) -> None:
    ranked = centrality.ranked(found(texts))
    assert sorted(each.start for each in ranked) == list(range(len(texts)))
    assert all(each.score >= 0 for each in ranked)
