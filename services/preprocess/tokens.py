"""Counts tokens with the model's own tokenizer, or words where there is none."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

from ragline.settings import SettingsError
from services.preprocess.chunkers import CountTokens

BATCH = 4096  # texts that are counted at once, which bounds the memory that their encodings take

_WORD = re.compile(r"\w+|[^\w\s]")


def token_counter(tokenizer_file: Path | None) -> CountTokens:
    """A function that counts the tokens of texts, special ones left out; words and signs without a tokenizer.

    Raises SettingsError when the file is no tokenizer.json.
    """
    if tokenizer_file is None:
        return _count_words
    from tokenizers import Tokenizer  # noqa: PLC0415 -- counting words must work without it

    try:
        tokenizer = Tokenizer.from_file(str(tokenizer_file))
    except Exception as error:  # noqa: BLE001 -- the library raises nothing narrower
        raise SettingsError(f"{tokenizer_file} is no tokenizer: {error}") from None
    tokenizer.no_truncation()
    tokenizer.no_padding()

    def count(texts: Sequence[str]) -> list[int]:
        counts: list[int] = []
        for start in range(0, len(texts), BATCH):
            encodings = tokenizer.encode_batch_fast(list(texts[start : start + BATCH]), add_special_tokens=False)
            counts += [len(encoding) for encoding in encodings]
        return counts

    return count


def _count_words(texts: Sequence[str]) -> list[int]:
    return [sum(1 for _ in _WORD.finditer(text)) for text in texts]
