"""Packed token vectors: which word pieces, which bits, and what damage does."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from ragline import token_vectors
from ragline.encoder.tokenizer import Tokenizer, Tokens
from ragline.token_vectors import Floats, Layout, PackedTokens
from tests.ragline.encoder import tiny


@pytest.fixture
def tokenizer(tmp_path: Path) -> Tokenizer:
    return Tokenizer(tiny.tokenizer(tmp_path), limit=32, rows=100)


def random(tokens: Tokens, dimensions: int = 16) -> Floats:
    return np.random.default_rng(1).normal(size=(len(tokens), dimensions)).astype(np.float32)


def values(packed: PackedTokens) -> Floats:
    """The unit vectors that packed ones stand for."""
    bits, dimensions = packed.layout.bits, packed.layout.dimensions
    codes = token_vectors.unfolded(packed.codes, bits)[:, :dimensions]
    return token_vectors.unit(codes.astype(np.float32) - np.float32((2**bits - 1) / 2))


def test_signs_of_words_come_back(tokenizer: Tokenizer) -> None:
    (tokens,) = tokenizer.texts(["a, b. c"])
    vectors = random(tokens)
    packed = token_vectors.unpack(token_vectors.pack(tokens, vectors))
    assert packed.layout == Layout(1, 16)
    assert packed.factors is None
    np.testing.assert_array_equal(np.unpackbits(packed.codes, axis=1), vectors[[1, 3, 5]] > 0)


@pytest.mark.parametrize(("bits", "cosine"), [(1, 0.75), (2, 0.92), (4, 0.99), (8, 0.9999)])
@pytest.mark.parametrize("dimensions", [61, 384])
def test_more_bits_are_nearer_to_the_vectors(
    tokenizer: Tokenizer, bits: int, cosine: float, dimensions: int
) -> None:
    (tokens,) = tokenizer.texts(["a b c d a b c d"])
    vectors = random(tokens, dimensions)
    packed = token_vectors.unpack(token_vectors.pack(tokens, vectors, Layout(bits)))
    assert packed.layout == Layout(bits, dimensions)
    rows = values(packed)
    assert np.sum(rows * token_vectors.unit(vectors[1:-1]), axis=1).mean() > cosine
    if packed.factors is not None:
        codes = token_vectors.unfolded(packed.codes, bits)[:, :dimensions].astype(np.float32)
        np.testing.assert_allclose((codes - (2**bits - 1) / 2) * packed.factors[:, None], rows, rtol=1e-3)


def test_noughts_have_a_place_in_every_layout(tokenizer: Tokenizer) -> None:
    (tokens,) = tokenizer.texts(["a b"])
    for bits in (1, 2, 4, 8):
        nothing = np.zeros((len(tokens), 16), np.float32)
        packed = token_vectors.unpack(token_vectors.pack(tokens, nothing, Layout(bits)))
        assert np.isfinite(values(packed)).all()
        assert packed.factors is None or np.isfinite(packed.factors).all()


def test_parts_are_the_rows_between(tokenizer: Tokenizer) -> None:
    (tokens,) = tokenizer.texts(["a b c d"])
    for bits in (1, 4):
        packed = token_vectors.unpack(token_vectors.pack(tokens, random(tokens), Layout(bits)))
        part = packed.part(1, 3)
        assert len(part) == 2
        np.testing.assert_array_equal(values(part), values(packed)[1:3])


def test_fewer_dimensions_keep_angles(tokenizer: Tokenizer) -> None:
    (tokens,) = tokenizer.texts([" ".join("abcdefgh")])
    vectors = random(tokens, 384)
    vectors[2] = vectors[1] + 0.5 * vectors[3]
    packed = token_vectors.unpack(token_vectors.pack(tokens, vectors, Layout(8, 192)))
    assert packed.layout == Layout(8, 192)
    assert packed.codes.shape == (8, 192)
    rows, exact = values(packed), token_vectors.unit(vectors[1:-1])
    assert np.abs(rows @ rows.T - exact @ exact.T).max() < 0.25
    assert rows[0] @ rows[1] == pytest.approx(exact[0] @ exact[1], abs=0.1)


def test_more_dimensions_than_there_are_mean_all(tokenizer: Tokenizer) -> None:
    (tokens,) = tokenizer.texts(["a b"])
    vectors = random(tokens)
    assert token_vectors.pack(tokens, vectors, Layout(2, 512)) == token_vectors.pack(tokens, vectors, Layout(2))


def test_a_text_of_punctuation_keeps_it(tokenizer: Tokenizer) -> None:
    (tokens,) = tokenizer.texts([". ,"])
    vectors = random(tokens)
    packed = token_vectors.unpack(token_vectors.pack(tokens, vectors))
    np.testing.assert_array_equal(np.unpackbits(packed.codes, axis=1), vectors[1:3] > 0)


def test_an_empty_text_is_never_without_a_vector(tokenizer: Tokenizer) -> None:
    (tokens,) = tokenizer.texts([""])
    packed = token_vectors.unpack(token_vectors.pack(tokens, random(tokens)))
    assert packed.codes.shape == (2, 2)


@pytest.mark.parametrize(
    ("layout", "size"), [(Layout(), 48), (Layout(2), 98), (Layout(4, 192), 98), (Layout(8), 386)]
)
def test_a_passage_takes_little_room(tokenizer: Tokenizer, layout: Layout, size: int) -> None:
    (tokens,) = tokenizer.texts(["a b c"])
    assert len(token_vectors.pack(tokens, random(tokens, 384), layout)) == token_vectors.HEADER.size + 3 * size


@pytest.mark.parametrize("bits", [1, 4])
def test_damaged_bytes_are_refused(tokenizer: Tokenizer, bits: int) -> None:
    (tokens,) = tokenizer.texts(["a b c"])
    data = token_vectors.pack(tokens, random(tokens), Layout(bits))
    first_version = b"TV\x01\x00" + data[4:]
    for bad in (b"", data[:3], data[:-1], data + b"x", b"XX" + data[2:], first_version):
        with pytest.raises(ValueError, match="packed token vectors"):
            token_vectors.unpack(bad)


def test_queries_come_back(tokenizer: Tokenizer) -> None:
    (tokens,) = tokenizer.texts(["a, b. c"])
    query = token_vectors.query_tokens(tokens, random(tokens))
    np.testing.assert_allclose(np.linalg.norm(query.vectors, axis=1), 1, rtol=1e-5)
    data = token_vectors.pack_query(query)
    back = token_vectors.unpack_query(data)
    assert back.ids.tolist() == tokens.ids[1:-1].tolist()
    assert back.words.tolist() == tokens.words[1:-1].tolist() == [True, False, True, False, True]
    assert back.offsets.tolist() == tokens.offsets[1:-1].tolist()
    np.testing.assert_allclose(back.vectors, query.vectors, atol=1e-3)
    for bad in (b"", data[:-1], data + b"x", b"TV" + data[2:]):
        with pytest.raises(ValueError, match="a query's token vectors"):
            token_vectors.unpack_query(bad)


def test_a_query_without_word_pieces_comes_back(tokenizer: Tokenizer) -> None:
    (tokens,) = tokenizer.texts([""])
    query = token_vectors.query_tokens(tokens, random(tokens))
    assert token_vectors.unpack_query(token_vectors.pack_query(query)).vectors.shape == (0, 16)
    assert token_vectors.projected(query, 8).vectors.shape == (0, 8)


def test_a_query_is_projected_as_passages_are(tokenizer: Tokenizer) -> None:
    (tokens,) = tokenizer.texts(["a b c"])
    vectors = random(tokens, 384)
    query = token_vectors.projected(token_vectors.query_tokens(tokens, vectors), 128)
    packed = token_vectors.unpack(token_vectors.pack(tokens, vectors, Layout(8, 128)))
    np.testing.assert_allclose(np.diag(query.vectors @ values(packed).T), 1, atol=1e-3)


def test_keys_tell_encoders_and_texts_apart() -> None:
    keys = {token_vectors.key(encoder, text) for encoder in ("a", "b") for text in ("", "x", "é", "\ud800")}
    assert len(keys) == 8
    assert token_vectors.key("abc", "x").startswith("tv:abc:2d711642b726b044")
    assert token_vectors.query_key("abc", "x").startswith("tq:abc:2d711642b726b044")
