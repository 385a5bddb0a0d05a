"""Finds topics that are not to be talked about, by words and phrases in any of their forms."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from typing import Annotated

from pydantic import Field

from ragline.settings import SettingsError
from services.generator.checks.citations import stem
from services.generator.checks.evidence import PLAIN, WORD, fold
from services.generator.guards import STAGES, Match, Parts, Stage

Share = Annotated[float, Field(gt=0, le=1)]


def load(parts: Parts, *, blocked: dict[str, list[str]], share: Share = 1.0, window: int = 2) -> Topics:
    """``blocked`` are a topic's words and phrases, by its name.

    A phrase is found where ``share`` of its words stand, in any order, among ``window`` times as many words.
    """
    for topic, phrases in blocked.items():
        if not phrases or any(not WORD.search(phrase) for phrase in phrases):
            raise SettingsError(f"GENERATOR_GUARDS: the topic {topic!r} has a phrase without a word, or none.")
    return Topics(blocked, share, window)


class Topics:
    """Words are compared by their stems, and plain words such as "the" do not count."""

    stages: tuple[Stage, ...] = STAGES
    reach = 300

    def __init__(self, blocked: Mapping[str, list[str]], share: float = 1.0, window: int = 2) -> None:
        self.phrases = [
            (topic, stems)
            for topic, phrases in blocked.items()
            for phrase in phrases
            if (stems := frozenset(each for each, _ in stemmed(phrase)) or frozenset({stem(fold(phrase))}))
        ]
        self.known = frozenset().union(*(stems for _, stems in self.phrases))
        self.share = share
        self.window = window

    def find(self, text: str, stage: Stage) -> list[Match]:
        """The words of the topics; of a phrase all from its first to its last."""
        said = list(stemmed(text))
        if not any(word in self.known for word, _ in said):
            return []
        return [
            Match(start, end, topic, "[left out]")
            for topic, stems in self.phrases
            for start, end in self.places(said, stems)
        ]

    def places(self, said: list[tuple[str, tuple[int, int]]], stems: frozenset[str]) -> Iterator[tuple[int, int]]:
        """Where enough of a phrase's words stand close together."""
        needed = math.ceil(self.share * len(stems))
        at = 0
        while at < len(said):
            if said[at][0] not in stems:
                at += 1
                continue
            near = said[at : at + (len(stems) * self.window if len(stems) > 1 else 1)]
            held = [(word, span) for word, span in near if word in stems]
            if len({word for word, _ in held}) >= needed:
                yield held[0][1][0], held[-1][1][1]
                at += len(near)
            else:
                at += 1


def stemmed(text: str) -> Iterator[tuple[str, tuple[int, int]]]:
    """The stems of a text's words that say something, and where they stand."""
    for match in WORD.finditer(text):
        folded = fold(match.group())
        if folded not in PLAIN:
            yield stem(folded), match.span()
