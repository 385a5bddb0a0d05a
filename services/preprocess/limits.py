"""How much one request may ask to embed."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from ragline.errors import TooLarge


@dataclass(frozen=True)
class Limits:
    """Texts in one request, and characters in one text: the settings PREPROCESS_MAX_INPUTS and _MAX_CHARS."""

    max_inputs: int = 1024
    max_chars: int = 100_000

    def check(self, texts: Sequence[str], *, field: str, alone: bool = False) -> None:
        """Raise TooLarge naming the field and the limit; ``alone``: the field is the one text, not a list."""
        if len(texts) > self.max_inputs:
            raise TooLarge(
                f"{field} has {len(texts)} texts; send at most {self.max_inputs} at once (PREPROCESS_MAX_INPUTS).",
                field=field,
            )
        for at, text in enumerate(texts):
            if len(text) > self.max_chars:
                name = field if alone else f"{field}[{at}]"
                raise TooLarge(
                    f"{name} has {len(text)} characters; send at most {self.max_chars} in one text "
                    "(PREPROCESS_MAX_CHARS).",
                    field=name,
                )
