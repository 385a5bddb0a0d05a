"""The estimate of tokens errs to the high side."""

import pytest

from services.generator.prompt import tokens


@pytest.mark.parametrize(("text", "least"), [("hello world, how are you", 6), ("\u6f22\u5b57" * 50, 100), ("", 0)])
def test_tokens_errs_to_the_high_side(text: str, least: int) -> None:
    assert tokens(text) >= least
