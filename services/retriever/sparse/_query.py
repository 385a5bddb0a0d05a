"""What a query asks for: words, exact phrases in quotes, what is written together."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from typing import TypeVar

from services.retriever.sparse._analysis import UNSPACED, analyzer, cut, folded, plain

# Pairs of quotation marks; one after a letter or digit is of an inch or a cut-off quotation.
QUOTED = re.compile(r'(?<![0-9A-Za-z])["“„]([^"“”„]+)["“”](?![0-9A-Za-z])')
CONTRACTED = re.compile(
    r"\b(?:ai|are|ca|could|did|do|does|had|has|have|is|might|must|need|sha|should|was|were|wo|would)n['\u2019]t\b"
    r"|(?<=[^\W_])['\u2019](?:d|ll|m|re|s|t|ve)\b",
    re.IGNORECASE,
)
SHOUTED = re.compile(r"\b[A-Z]{2,}\b")
OPERATORS = frozenset({"and", "or", "not"})  # of other engines, written large
NAMED = re.compile(r"[^\W_](?:[._@:/\\]+[^\W_]|[^\w\s]+\d)|\d[^\w\s]+[^\W_]")
MOST_TOGETHER = 8  # terms, and how many of them
MOST_TERMS = 1024
# The list of the Snowball project for English, folded, but for contractions.
ENGLISH = """
i me my myself we our ours ourselves you your yours yourself yourselves he him his himself she her
hers herself it its itself they them their theirs themselves what which who whom this that these
those am is are was were be been being have has had having do does did doing would should could ought
a an the and but if or because as until while of at by for with about against between into through
during before after above below to from up down in out on off over under again further then once here
there when where why how all any both each few more most other some such no nor not only own same so
than too very can cannot will just
"""
STOP_WORDS = frozenset(ENGLISH.split())

T = TypeVar("T")
Phrase = tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Terms:
    """What to look for.

    A passage must hold each of ``quoted`` (a phrase of one term or more) and ``quoted_characters``; else one of
    ``words`` or ``characters`` is enough. ``together`` are phrases that only make a match better. Characters
    are single ones of scripts without spaces.
    """

    words: tuple[str, ...] = ()
    characters: tuple[str, ...] = ()
    quoted: tuple[Phrase, ...] = ()
    quoted_characters: tuple[str, ...] = ()
    together: tuple[Phrase, ...] = ()

    def __bool__(self) -> bool:
        return bool(self.words or self.characters)

    @property
    def quotes(self) -> bool:
        """Whether something is required."""
        return bool(self.quoted or self.quoted_characters)

    def unquoted(self) -> Terms:
        """The terms where nothing holds what is quoted."""
        phrases = tuple(phrase for phrase in self.quoted if len(phrase) > 1)
        return replace(self, quoted=(), quoted_characters=(), together=phrases + self.together)


class QueryAnalysis:
    """Turns queries into terms with the index's own analyzer; stop words count only where nothing else is said."""

    def __init__(self) -> None:
        self.plain = plain()
        self.stemmed = analyzer()

    def terms(self, query: str) -> Terms:
        """The terms to look for; none for a query without a letter or digit."""
        phrases: list[Phrase] = []
        required: list[str] = []
        for quotation in QUOTED.finditer(query):
            parts, alone = parted(quotation[1])
            phrases += [tuple(self.stemmed.analyze(part)) for part in parts]
            required += alone
        rest, characters = parted(query)
        words = self.words(query)
        if not words and not characters:
            words = [word for part in rest for word in self.plain.analyze(part)]
        stems = (stem for word in words for stem in self.stemmed.analyze(word))
        return Terms(
            distinct(stems)[:MOST_TERMS],
            distinct(characters)[:MOST_TERMS],
            distinct(phrase for phrase in phrases if phrase),
            distinct(required),
            distinct(self.together(QUOTED.sub(" ", query)))[:MOST_TOGETHER],
        )

    def words(self, query: str) -> list[str]:
        """All words but stop words; WHO in a text that is not all capitals is a name."""
        names = set() if query.isupper() else {name.lower() for name in SHOUTED.findall(query)} - OPERATORS
        stop = STOP_WORDS - names
        parts, _ = parted(CONTRACTED.sub("", query))
        return [word for part in parts for word in self.plain.analyze(part) if word not in stop]

    def together(self, query: str) -> Iterator[Phrase]:
        """What is written like a name of something, such as ``foo_bar.baz``, ``v1.2.3`` and ``IL-6``."""
        for written in filter(NAMED.search, CONTRACTED.sub("", query).split()):
            for part in parted(written)[0]:
                words = self.plain.analyze(part)
                if 1 < len(words) <= MOST_TOGETHER and not STOP_WORDS.issuperset(words):
                    yield tuple(self.stemmed.analyze(part))


def parted(text: str) -> tuple[list[str], list[str]]:
    """A query's text ready for the analyzer, parted at single characters of unspaced scripts, and those.

    The passages' words hold pairs of such characters only, so that no phrase can go on beside a single one.
    """
    if text.isascii():
        return [cut(text).words], []
    text = folded(text)
    alone = [run[0] for run in UNSPACED.finditer(text) if len(run[0]) == 1]
    parts = UNSPACED.sub(lambda run: run[0] if len(run[0]) > 1 else "\n\n", text).split("\n\n")
    return [cut(part).words for part in parts], alone


def distinct(items: Iterable[T]) -> tuple[T, ...]:
    """Each once, in order."""
    return tuple(dict.fromkeys(items))
