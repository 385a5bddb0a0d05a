"""Turns texts into word pieces with the model's own tokenizer.json."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import tokenizers
from numpy.typing import NDArray
from tokenizers import normalizers

from ragline.encoder.safetensors import WAY_OUT
from ragline.settings import SettingsError

FILE = "tokenizer.json"
MARKS = "Ġ▁Ċ"
"""Letters that tokenizers use for white space."""


@dataclass(frozen=True)
class Tokens:
    """A text, or a pair of texts, as word pieces; each array has one entry a word piece.

    ``special`` marks those that the model adds, ``words`` those of the text that hold a letter or a digit.
    ``offsets`` (n, 2) are [start, end) in code points of the text; special word pieces have (0, 0).
    ``types`` is 1 for the second text of a pair. ``truncated`` says that the text had more.
    """

    ids: NDArray[np.int64]
    special: NDArray[np.bool_]
    words: NDArray[np.bool_]
    offsets: NDArray[np.int32]
    types: NDArray[np.int64]
    truncated: bool = False

    def __len__(self) -> int:
        return len(self.ids)


class Tokenizer:
    """The tokenizer of a model folder; its methods may be called from several threads at once.

    ``limit`` is the most word pieces of a text or of a pair, special ones included; ``rows`` is how many
    word pieces the model knows.
    """

    def __init__(self, folder: Path, *, limit: int, rows: int, lowercase: bool = False) -> None:
        self.file, self.limit = folder / FILE, limit
        self.inner = opened(self.file, lowercase=lowercase)
        vocabulary = self.inner.get_vocab(with_added_tokens=True)
        size = max(vocabulary.values(), default=-1) + 1
        if not 0 < size <= rows:
            raise SettingsError(
                f"{self.file} has {size} word pieces and the weights beside it {rows}; fetch both again."
            )
        self.wordy = np.zeros(size, np.bool_)
        self.wordy[[number for piece, number in vocabulary.items() if has_word(piece)]] = True

    def count(self, texts: Sequence[str]) -> list[int]:
        """How many word pieces each text has, before any cut and without special ones."""
        return [len(each) for each in self.encodings(texts, special=False)]

    def texts(self, texts: Sequence[str]) -> list[Tokens]:
        """Each text's word pieces, cut to the limit."""
        return [cut(self.tokens(each), self.limit) for each in self.encodings(texts)]

    def pairs(self, query: str, texts: Sequence[str]) -> list[Tokens]:
        """The query beside each text, cut to the limit; the longer of the two gives way first.

        Not cut by the library: that also makes every combination of what was cut from the one and the other.
        """
        encodings = self.encodings([(query, text) for text in texts])
        return [cut_pair(self.tokens(each), each, self.limit) for each in encodings]

    def encodings(
        self, inputs: Sequence[str] | Sequence[tuple[str, str]], *, special: bool = True
    ) -> list[tokenizers.Encoding]:
        """One encoding an input: a text or a pair of texts."""
        try:
            return list(self.inner.encode_batch(inputs, add_special_tokens=special))
        except (UnicodeEncodeError, TypeError):
            sound = [whole(each) if isinstance(each, str) else (whole(each[0]), whole(each[1])) for each in inputs]
            return list(self.inner.encode_batch(sound, add_special_tokens=special))

    def tokens(self, encoding: tokenizers.Encoding) -> Tokens:
        """The arrays of an encoding."""
        ids = np.array(encoding.ids, np.int64)
        special = np.array(encoding.special_tokens_mask, np.bool_)
        return Tokens(
            ids=ids,
            special=special,
            words=self.wordy[ids] & ~special,
            offsets=np.array(encoding.offsets, np.int32).reshape(-1, 2),
            types=np.array(encoding.type_ids, np.int64),
            truncated=bool(encoding.overflowing),
        )


def opened(file: Path, *, lowercase: bool) -> tokenizers.Tokenizer:
    """The library's tokenizer, which neither cuts nor pads; ``lowercase`` comes before all else."""
    if not file.is_file():
        raise SettingsError(f"{file.parent} has no {file.name} (a fast tokenizer's file); {WAY_OUT}")
    try:
        tokenizer = tokenizers.Tokenizer.from_file(str(file))
    except Exception as error:  # noqa: BLE001 - for a bad file the library raises a bare Exception
        raise SettingsError(f"{file} is no tokenizer ({error}); fetch it again.") from None
    tokenizer.no_truncation()
    tokenizer.no_padding()
    if lowercase:
        steps = [normalizers.Lowercase(), *([tokenizer.normalizer] if tokenizer.normalizer else [])]
        tokenizer.normalizer = normalizers.Sequence(steps)
    return tokenizer


def has_word(piece: str) -> bool:
    """Whether a word piece holds a letter or a digit of any script."""
    return any(character.isalnum() for character in piece.strip(MARKS))


def whole(text: str) -> str:
    """The text with lone surrogates, which UTF-8 cannot hold, replaced by ``?``; offsets stay as they are."""
    return text.encode("utf-8", "replace").decode()


def cut(tokens: Tokens, limit: int) -> Tokens:
    """The first word pieces of the text and every special one, ``limit`` in all."""
    if len(tokens) <= limit:
        return tokens
    body = np.flatnonzero(~tokens.special)
    return without(tokens, body[len(body) - (len(tokens) - limit) :])


def cut_pair(tokens: Tokens, encoding: tokenizers.Encoding, limit: int) -> Tokens:
    """The first word pieces of both texts and every special one, ``limit`` in all; the shares as ``shares``."""
    if len(tokens) <= limit:
        return tokens
    side = np.array([-1 if each is None else each for each in encoding.sequence_ids])
    first, second = np.flatnonzero(side == 0), np.flatnonzero(side == 1)
    one, other = shares(len(first), len(second), limit - (len(side) - len(first) - len(second)))
    return without(tokens, np.concatenate([first[one:], second[other:]]))


def shares(first: int, second: int, room: int) -> tuple[int, int]:
    """How many word pieces each of two texts keeps, as the library's "longest_first" shares them out."""
    short, long = sorted((first, second))
    long = short if short > room else max(short, room - short)
    if short + long > room:
        short = max(room, 0) // 2
        long = max(room, 0) - short
    return (short, long) if first <= second else (long, short)


def without(tokens: Tokens, dropped: NDArray[np.int64]) -> Tokens:
    """The word pieces that are left."""
    kept = np.delete(np.arange(len(tokens)), dropped)
    return Tokens(
        ids=tokens.ids[kept],
        special=tokens.special[kept],
        words=tokens.words[kept],
        offsets=tokens.offsets[kept],
        types=tokens.types[kept],
        truncated=True,
    )
