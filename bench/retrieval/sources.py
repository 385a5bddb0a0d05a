"""The real texts and judged questions that the corpus is made of, from sets in BEIR layout."""

from __future__ import annotations

import random
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from ragline.evaluation import beir
from ragline.spans import embedded_text

DATA = Path(__file__).parents[3] / "shared" / "data"
JUDGED = {"eval/scifact": "test", "eval/squad11-dev": "test"}  # first: a small collection holds them whole
OTHERS = {
    "eval/dbpedia-5k": "test",
    "eval/climate-fever-sent": "test",
    "train/selqa": "test",
    "train/squadshifts-newwiki": "train",
    "train/squadshifts-reddit": "train",
    "train/squadshifts-amazon": "train",
    "eval/cisi": "test",
    "eval/medline": "test",
    "train/medquad": "train",
}
MOST = 40_000  # texts to embed: minutes on a free machine


@dataclass(frozen=True)
class Text:
    """A passage as its set has it."""

    title: str
    body: str

    @property
    def whole(self) -> str:
        """What is embedded, and what a peer is given."""
        return embedded_text(self.title, "", self.body)


@dataclass(frozen=True)
class Question:
    """A query and, by place among the passages, the grades of what answers it."""

    text: str
    grades: Mapping[int, int] = field(default_factory=dict)


@dataclass(frozen=True)
class Sources:
    """Distinct texts, the first ``judged`` of which no mixture repeats, and questions that those answer."""

    texts: list[Text]
    judged: int
    questions: list[Question]


def there(data: Path) -> bool:
    """Whether the judged sets are at hand."""
    return all((data / name / "corpus.jsonl").exists() for name in JUDGED)


def read(most: int, questions: int, data: Path = DATA) -> Sources:
    """Up to ``most`` texts, and the same ``questions`` in every run, in equal parts from the judged sets.

    A question is taken only where all that answers it is among the texts.
    """
    texts: dict[Text, int] = {}
    asked: list[Question] = []
    for name, split in JUDGED.items():
        found = beir.read(data / name, split)
        places = placed(found, texts, most)
        asked += answerable(found, places, questions // len(JUDGED))
    judged = len(texts)
    for name, split in OTHERS.items():
        if (data / name / "corpus.jsonl").exists():
            placed(beir.read(data / name, split), texts, most)
    random.Random(0).shuffle(asked)
    return Sources(list(texts), judged, asked)


def placed(found: beir.Dataset, texts: dict[Text, int], most: int) -> dict[str, int]:
    """Add the set's texts while there is room; returns the place of each document that is there."""
    places = {}
    for name, row in found.corpus.items():
        text = Text(row["title"], row["text"])
        if text not in texts and len(texts) < most and text.whole.strip():
            texts[text] = len(texts)
        if text in texts:
            places[name] = texts[text]
    return places


def answerable(found: beir.Dataset, places: Mapping[str, int], count: int) -> list[Question]:
    """The same ``count`` questions in every run, of those whose judged documents are all there."""
    grades = found.judgements
    whole = sorted(name for name in found.queries if grades[name].keys() <= places.keys())
    return [
        Question(found.queries[name], {places[document]: grade for document, grade in grades[name].items()})
        for name in random.Random(0).sample(whole, min(count, len(whole)))
    ]
