"""Packed token vectors: which word pieces, which bits, and what damage does."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from ragline import token_vectors
from ragline.encoder.tokenizer import Tokenizer, Tokens
from tests.ragline.encoder import tiny


@pytest.fixture
def tokenizer(tmp_path: Path) -> Tokenizer:
    return Tokenizer(tiny.tokenizer(tmp_path), limit=32, rows=100)


def random(tokens: Tokens, dimensions: int = 16) -> np.ndarray[tuple[int, ...], np.dtype[np.float32]]:
    return np.random.default_rng(1).normal(size=(len(tokens), dimensions)).astype(np.float32)


def test_signs_of_words_come_back_with_their_ids(tokenizer: Tokenizer) -> None:
    (tokens,) = tokenizer.texts(["a, b. c"])
    vectors = random(tokens)
    packed = token_vectors.unpack(token_vectors.pack(tokens, vectors))
    words = [1, 3, 5]
    np.testing.assert_array_equal(packed.ids, tokens.ids[words])
    assert packed.ids.dtype == np.uint32
    np.testing.assert_array_equal(np.unpackbits(packed.bits, axis=1), vectors[words] > 0)


def test_a_text_of_punctuation_keeps_it(tokenizer: Tokenizer) -> None:
    (tokens,) = tokenizer.texts([". ,"])
    packed = token_vectors.unpack(token_vectors.pack(tokens, random(tokens)))
    np.testing.assert_array_equal(packed.ids, tokens.ids[1:3])


def test_an_empty_text_is_never_without_a_vector(tokenizer: Tokenizer) -> None:
    (tokens,) = tokenizer.texts([""])
    packed = token_vectors.unpack(token_vectors.pack(tokens, random(tokens)))
    assert packed.bits.shape == (2, 2)


def test_a_passage_takes_little_room(tokenizer: Tokenizer) -> None:
    (tokens,) = tokenizer.texts(["a b c"])
    assert len(token_vectors.pack(tokens, random(tokens, 384))) == token_vectors.HEADER.size + 3 * (4 + 48)


def test_damaged_bytes_are_refused(tokenizer: Tokenizer) -> None:
    (tokens,) = tokenizer.texts(["a b c"])
    data = token_vectors.pack(tokens, random(tokens))
    for bad in (b"", data[:3], data[:-1], data + b"x", b"XX" + data[2:], data[:2] + b"\x09" + data[3:]):
        with pytest.raises(ValueError, match="packed token vectors"):
            token_vectors.unpack(bad)


def test_keys_tell_encoders_and_texts_apart() -> None:
    keys = {token_vectors.key(encoder, text) for encoder in ("a", "b") for text in ("", "x", "é", "\ud800")}
    assert len(keys) == 8
    assert token_vectors.key("abc", "x").startswith("tv:abc:2d711642b726b044")
