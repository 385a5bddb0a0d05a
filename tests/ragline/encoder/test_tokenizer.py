"""Word pieces: cuts, offsets, masks."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import tokenizers

from ragline.encoder.tokenizer import Tokenizer, has_word
from ragline.settings import SettingsError
from tests.ragline.encoder import tiny


@pytest.fixture
def tokenizer(tmp_path: Path) -> Tokenizer:
    return Tokenizer(tiny.tokenizer(tmp_path), limit=8, rows=100)


def test_masks_tell_special_pieces_and_words(tokenizer: Tokenizer) -> None:
    (tokens,) = tokenizer.texts(["a, ab."])
    assert tokens.special.tolist() == [True, False, False, False, False, False, True]
    assert tokens.words.tolist() == [False, True, False, True, True, False, False]


def test_offsets_are_of_code_points(tokenizer: Tokenizer) -> None:
    text = "👍 a 字 ab"
    (tokens,) = tokenizer.texts([text])
    assert [text[start:end] for start, end in tokens.offsets[~tokens.special]] == ["👍", "a", "字", "a", "b"]


def test_a_lone_surrogate_does_not_shift_the_offsets(tokenizer: Tokenizer) -> None:
    (tokens,) = tokenizer.texts(["\ud800 a"])
    assert tokens.offsets[-2].tolist() == [2, 3]
    assert tokenizer.count(["\ud800 a"]) == [2]


def test_a_cut_keeps_both_ends(tokenizer: Tokenizer) -> None:
    whole, cut = tokenizer.texts(["a b c d e f", "a b c d e f g h"])
    assert (len(whole), whole.truncated) == (8, False)
    assert (len(cut), cut.truncated) == (8, True)
    np.testing.assert_array_equal(cut.ids, whole.ids)
    np.testing.assert_array_equal(cut.offsets, whole.offsets)


def test_the_longer_text_of_a_pair_is_cut(tmp_path: Path) -> None:
    tokenizer = Tokenizer(tiny.tokenizer(tmp_path), limit=9, rows=100)
    short, cut = tokenizer.pairs("a b", ["c", "c d e f g h"])
    assert short.types.tolist() == [0, 0, 0, 0, 1, 1]
    assert (len(cut), cut.truncated, short.truncated) == (9, True, False)
    assert cut.types.tolist() == [0, 0, 0, 0, 1, 1, 1, 1, 1]


def test_pairs_with_lone_surrogates_are_read(tmp_path: Path) -> None:
    tokenizer = Tokenizer(tiny.tokenizer(tmp_path), limit=9, rows=100)
    assert [len(each) for each in tokenizer.pairs("\ud800", ["a", "\udfff"])] == [5, 5]


@pytest.mark.parametrize(
    ("piece", "expected"),
    [
        *((piece, True) for piece in ("a", "##ing", "7", "字", "ж", "Ġa")),
        *((piece, False) for piece in (",", "##-", "Ġ,", "▁", "")),
    ],
)
def test_pieces_with_a_letter_or_digit_are_words(piece: str, expected: bool) -> None:
    assert has_word(piece) is expected


def test_a_folder_without_a_fast_tokenizer_is_refused(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match=r"no tokenizer.json.*sentence_transformer"):
        Tokenizer(tmp_path, limit=8, rows=100)


def test_a_damaged_tokenizer_is_refused(tmp_path: Path) -> None:
    (tmp_path / "tokenizer.json").write_text('{"model": 1}')
    with pytest.raises(SettingsError, match=r"is no tokenizer.*fetch it again"):
        Tokenizer(tmp_path, limit=8, rows=100)


def test_word_pieces_without_a_vector_are_refused(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match="40 word pieces and the weights beside it 39"):
        Tokenizer(tiny.tokenizer(tmp_path), limit=8, rows=39)


@pytest.mark.parametrize("limit", [13, 64])
def test_pairs_are_cut_as_the_library_cuts_them(tmp_path: Path, limit: int) -> None:
    folder = tiny.tokenizer(tmp_path)
    ours = Tokenizer(folder, limit=limit, rows=100)
    theirs = tokenizers.Tokenizer.from_file(str(folder / "tokenizer.json"))
    theirs.enable_truncation(limit, strategy="longest_first")
    random = np.random.default_rng(3)
    for _ in range(100):
        query, text = (" ".join(random.choice(["a", "ab", "b", "abab"], random.integers(0, n))) for n in (25, 40))
        [made] = ours.pairs(query, [text])
        expected = theirs.encode(query, text)
        assert made.ids.tolist() == expected.ids
        assert made.types.tolist() == expected.type_ids
        assert made.truncated == bool(expected.overflowing)


def test_long_pairs_are_cut_without_making_every_combination(tmp_path: Path) -> None:
    ours = Tokenizer(tiny.tokenizer(tmp_path), limit=8, rows=100)
    [made] = ours.pairs("ab " * 5_000, ["b a " * 20_000])
    assert len(made) == 8
    assert made.truncated
