import pytest

from eval.answers import holds


@pytest.mark.parametrize(
    ("answer", "gold", "expected"),
    [
        ("It began in October 1973. [1]", ["October 1973"], True),
        ("the price was nearly $12.", ["$12"], True),
        ("An embargo, The oil one", ["oil embargo"], False),
        ("It was THE  Normans'", ["Normans"], True),
    ],
)
def test_gold_is_compared_as_squad_does(answer: str, gold: list[str], expected: bool) -> None:
    assert holds(answer, gold) is expected
