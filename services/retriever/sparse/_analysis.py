"""Text to terms, for passages and queries alike: folding, stemming, stop words, and scripts without spaces."""

from __future__ import annotations

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
QUOTED = re.compile(r'"([^"]+)"|“([^”]+)”')
LONGEST_TERM = 100  # bytes; what is longer is no word
# The list of the Snowball project for English, folded, with what is left of "don't" and "we'll" once split.
ENGLISH = """
i me my myself we our ours ourselves you your yours yourself yourselves he him his himself she her
hers herself it its itself they them their theirs themselves what which who whom this that these
those am is are was were be been being have has had having do does did doing would should could ought
a an the and but if or because as until while of at by for with about against between into through
during before after above below to from up down in out on off over under again further then once here
there when where why how all any both each few more most other some such no nor not only own same so
than too very can cannot will just s t d ll m re ve don didn doesn isn aren wasn weren hasn haven
hadn won wouldn couldn shouldn
"""
STOP_WORDS = frozenset(ENGLISH.split())


@dataclass(frozen=True)
class Terms:
    """A query's distinct terms in order, and its phrases (each of two terms or more)."""

    words: tuple[str, ...]
    phrases: tuple[tuple[str, ...], ...]


def analyzer() -> tantivy.TextAnalyzer:
    """Splits at what is no letter or digit, lowercases, folds accents, stems English; built on every open."""
    return stemming(words())


def words() -> tantivy.TextAnalyzerBuilder:
    """All steps but stemming."""
    return (
        tantivy.TextAnalyzerBuilder(tantivy.Tokenizer.simple())
        .filter(tantivy.Filter.remove_long(LONGEST_TERM))
        .filter(tantivy.Filter.lowercase())
        .filter(tantivy.Filter.ascii_fold())
    )


def stemming(builder: tantivy.TextAnalyzerBuilder) -> tantivy.TextAnalyzer:
    """The analyzer with the last step."""
    return builder.filter(tantivy.Filter.stemmer("english")).build()


def prepared(text: str, *, single: bool) -> str:
    """``text`` as the analyzer should see it: compatibility forms unified, unspaced scripts cut into pairs.

    With ``single`` each character of such a run follows its pairs, so that a query of one character finds it;
    a query's own runs are given as pairs only, or a lone character as itself.
    """
    if text.isascii():
        return text
    text = unicodedata.normalize("NFKC", text)
    return UNSPACED.sub(lambda run: f" {' '.join(pieces(run[0], single))} ", text)


def pieces(run: str, single: bool) -> list[str]:
    """The pairs of neighbours in ``run``, then its characters where wanted or where there is only one."""
    pairs = [run[i : i + 2] for i in range(len(run) - 1)]
    return pairs + list(run) if single or not pairs else pairs


class QueryAnalysis:
    """Turns queries into terms with the index's own analyzer; stop words count only where nothing else is said."""

    def __init__(self) -> None:
        self.plain = words().build()
        self.stemmed = analyzer()

    def terms(self, query: str) -> Terms:
        """The terms to look for; none for a query without a letter or digit."""
        said = self.plain.analyze(prepared(query, single=False))
        kept = [word for word in said if word not in STOP_WORDS] or said
        stems = [stem for word in dict.fromkeys(kept) for stem in self.stemmed.analyze(word)]
        return Terms(tuple(dict.fromkeys(stems)), tuple(self.phrases(query)))

    def phrases(self, query: str) -> list[tuple[str, ...]]:
        """What stands in quotes, term by term, stop words included, as the index holds positions of all words."""
        found = [
            tuple(self.stemmed.analyze(prepared(run[1] or run[2], single=False))) for run in QUOTED.finditer(query)
        ]
        return [phrase for phrase in found if len(phrase) > 1]
