"""all-MiniLM-L6-v2 itself: equal to sentence-transformers, and to what it was before."""

from __future__ import annotations

import random
from pathlib import Path

import numpy as np
import pytest

from ragline.encoder import Encoder

pytestmark = pytest.mark.models

ODD = [
    "",
    " ",
    "\n\t \r\n",
    "\x00",
    "nul \x00 inside",
    "\u200b\u200d\ufeff",
    "zero\u200bwidth\u00adhyphen",
    "\u202eright to left override",
    "café naïve Ångström façade",
    "e\u0301 a\u0308 combining n\u0303",
    "日本語のテキストです。中文字符。한국어 문장",
    "مرحبا بالعالم، كيف حالك؟",
    "שלום עולם",
    "ภาษาไทยไม่มีช่องว่าง",
    "हिन्दी में एक वाक्य",
    "👩‍👩‍👧‍👦 family 🏳️‍🌈 flag 🤷🏽‍♀️",
    "x" * 500,
    "antidisestablishmentarianism" * 20,
    "word " * 400,
    "字" * 300,
    "!?.,;:()[]{}<>-_=+*/\\|~`@#$%^&\"'",
    "1 2 3.14 1e-9 0xFF 10,000.00 €",
    "def f(x: int) -> str:\n    return f'{x!r}'",
    "https://example.org/a?b=c&d=%20#e me@example.org",
    "[CLS] [SEP] [MASK] [PAD] [UNK]",
    "<html><b>bold</b>&amp;&nbsp;</html>",
    "ALL CAPS AND iOS mixedCase",
    "ﬁ ligature ① ½ ™",
    "\U0001d54f\U0001d550 mathematical",
    "private \ue000 use \U000f0000",
]
COMMON = """
the of a message queue broker retry delivery acknowledged consumer publisher disk memory thread lock time system
design failure network request answer passage vector index search über naïve 東京 running quickly protein cell
patient treatment market price law court river mountain 42 3.5 2019 x86-64 e-mail don't
"""
WORDS = COMMON.split()
GOLDEN = {
    "A lost message is sent again.": [
        -0.034628,
        -0.014207,
        0.052854,
        0.097546,
        0.026299,
        0.018459,
        0.061022,
        -0.066814,
    ],
    "Wie spät ist es?": [-0.020176, 0.011954, 0.073438, 0.022927, -0.047258, 0.073520, 0.179011, 0.091768],
}


def varied() -> list[str]:
    """300 texts of 0 to 400 words, odd ones and ordinary ones, the same at every run."""
    choice = random.Random(7)
    texts = list(ODD)
    while len(texts) < 300:
        count = choice.choice([1, 2, 5, 8, 12, 20, 40]) if len(texts) % 20 else 300
        texts.append(" ".join(choice.choice(WORDS) for _ in range(count)) + choice.choice(["", ".", "?", "…"]))
    return texts


@pytest.fixture(scope="module")
def encoder(minilm: Path) -> Encoder:
    return Encoder.open(minilm, threads=0)


@pytest.mark.torch
def test_300_texts_have_the_vectors_of_sentence_transformers(encoder: Encoder, minilm: Path) -> None:
    library = pytest.importorskip("sentence_transformers", reason="needs the [torch] extra")
    texts = varied()
    theirs = library.SentenceTransformer(str(minilm), device="cpu").encode(texts, show_progress_bar=False)
    order = sorted(range(len(texts)), key=lambda at: len(texts[at]))
    mine = np.zeros_like(theirs)
    for start in range(0, len(order), 20):
        part = order[start : start + 20]
        mine[part] = encoder.encode(encoder.tokenize([texts[at] for at in part])).vectors
    cosines = (mine * theirs).sum(axis=1) / np.linalg.norm(theirs, axis=1)
    assert len(cosines) == 300
    assert cosines.min() >= 0.9999
    np.testing.assert_allclose(mine, theirs, atol=1e-5)


def test_a_text_has_the_same_vector_alone_and_among_others(encoder: Encoder) -> None:
    texts = random.Random(3).sample(varied(), 30)
    together = encoder.encode(encoder.tokenize(texts)).vectors
    alone = np.concatenate([encoder.encode(encoder.tokenize([text])).vectors for text in texts])
    np.testing.assert_allclose(together, alone, atol=1e-5)


@pytest.mark.parametrize("text", GOLDEN)
def test_vectors_are_what_they_were(encoder: Encoder, text: str) -> None:
    (vector,) = encoder.encode(encoder.tokenize([text])).vectors
    np.testing.assert_allclose(vector[:8], GOLDEN[text], atol=2e-6)


def test_the_model_says_what_it_is(encoder: Encoder, minilm: Path) -> None:
    assert (encoder.name, encoder.dimensions, encoder.max_tokens) == ("all-MiniLM-L6-v2", 384, 256)
    assert encoder.tokenizer_file == minilm / "tokenizer.json"
    assert encoder.count_tokens(["word " * 400, ""]) == [400, 0]


def test_word_pieces_carry_offsets_into_the_text(encoder: Encoder) -> None:
    text = "👍🏽 Messages 字 naïvely, twice."
    (tokens,) = encoder.tokenize([text])
    spans = [text[start:end] for start, end in tokens.offsets[tokens.words]]
    assert spans[1:] == ["Messages", "字", "naïve", "ly", "twice"]
