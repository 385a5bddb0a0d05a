"""Text to terms, the same for every sparse index: folding, stemming, and scripts without spaces."""

from __future__ import annotations

import functools
import re
import unicodedata
from dataclasses import dataclass

import tantivy

# Runs of scripts that put no spaces between words (Han, kana, Hangul, Thai, Lao, Myanmar, Khmer), written as
# pairs of neighbours, the usual way without a dictionary (as Lucene's CJKBigramFilter).
UNSPACED = re.compile(
    "[\u3040-\u30ff\u31f0-\u31ff\u3400-\u4dbf\u4e00-\u9fff\uac00-\ud7a3\uf900-\ufaff\u0e00-\u0eff\u1000-\u109f"
    "\u1780-\u17ff\U00020000-\U0003ffff々]+"
)
ACCENTS = re.compile("[\u0300-\u036f]+")
# Vowel points, which most texts of these scripts leave out.
POINTS = (
    "\u0591-\u05bd\u05bf\u05c1\u05c2\u05c4\u05c5\u05c7\u0610-\u061a\u064b-\u065f\u0670\u06d6-\u06dc\u06df-\u06e8"
)
# What would be a letter, did its sign not make it a name.
SIGNS = re.compile(r"(?<![^\W_])(?:([cC])\+\+|([cCfFjJ])[#\u266f])")
LONGEST_WORD = 100  # characters; what is longer counts as several words in a row
LONG = re.compile(rf"[^\W_]{{{LONGEST_WORD}}}")


@dataclass(frozen=True, slots=True)
class Cut:
    """A text ready for the analyzer, and the single characters of its unspaced scripts, with spaces between."""

    words: str
    characters: str


def analyzer() -> tantivy.TextAnalyzer:
    """Splits at what is no letter or digit, lowercases, folds accents, stems English; built on every open."""
    return steps().filter(tantivy.Filter.stemmer("english")).build()


def plain() -> tantivy.TextAnalyzer:
    """All steps but stemming."""
    return steps().build()


def steps() -> tantivy.TextAnalyzerBuilder:
    """What both analyzers do."""
    return (
        tantivy.TextAnalyzerBuilder(tantivy.Tokenizer.simple())
        .filter(tantivy.Filter.lowercase())
        .filter(tantivy.Filter.ascii_fold())
    )


def cut(text: str) -> Cut:
    """``text`` as the analyzer should see it: compatibility forms unified, unspaced scripts cut into pairs.

    The characters go to a field of their own: among the words they would stand between the pairs of a phrase.
    """
    characters = ""
    if not text.isascii():
        text = folded(text)
        characters = " ".join("".join(UNSPACED.findall(text)))
        text = UNSPACED.sub(lambda run: f" {' '.join(pairs(run[0]))} ", text)
    return Cut(written_out(text), characters)


def folded(text: str) -> str:
    """Compatibility forms, case and marks taken away; a soft hyphen or a joiner parts no word."""
    text = ACCENTS.sub("", unicodedata.normalize("NFKD", text))
    return marks().sub("", unicodedata.normalize("NFC", text).casefold())


def pairs(run: str) -> list[str]:
    """The pairs of neighbours in ``run``, or its only character."""
    return [run[i : i + 2] for i in range(len(run) - 1)] or [run]


def written_out(text: str) -> str:
    """C++ and C# as words of their own, overlong words in parts."""
    if "+" in text or "#" in text or "\u266f" in text:
        text = SIGNS.sub(lambda sign: " cplusplus " if sign[1] else f" {sign[2]}sharp ", text)
    if len(text) > LONGEST_WORD and len(max(text.split(), key=len, default="")) > LONGEST_WORD:
        text = LONG.sub(r"\g<0> ", text)
    return text


@functools.cache
def marks() -> re.Pattern[str]:
    """Marks and invisible characters that the tokenizer would part a word at, vowel points, lone surrogates."""
    tokenizer = tantivy.TextAnalyzerBuilder(tantivy.Tokenizer.simple()).build()
    found = [
        mark
        for mark in map(chr, range(0x80, 0x10000))  # beyond, a class of many characters is searched one by one
        if unicodedata.category(mark) in ("Mn", "Mc", "Me", "Cf") and len(tokenizer.analyze(f"a{mark}a")) > 1
    ]
    return re.compile(f"[{''.join(found)}{POINTS}\ud800-\udfff\U000e0000-\U000e01ef]+")
