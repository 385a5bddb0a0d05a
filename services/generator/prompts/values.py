"""What each task's templates are given, and the samples that they are tried with."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields, is_dataclass, replace
from typing import Any

from services.generator.prompt import NO_ANSWER

# What a template fences quoted text with, as <passage> ... </passage>; quoted text itself never holds these.
FENCES = ("passage", "document", "sentence", "conversation", "question")
# Also with what looks like the bracket, and with what cannot be seen or does not matter in between.
_FORGED = re.compile(
    rf"[<\uff1c\u2039\u3008\ufe64\u276e\u27e8](?=[\W_]{{0,8}}(?:{'|'.join(FENCES)}))", re.IGNORECASE
)


@dataclass(frozen=True, slots=True)
class Shown:
    """A passage, or what is left of it or was put together, as a template sees it."""

    number: int
    heading: str
    text: str


@dataclass(frozen=True, slots=True)
class Line:
    """A sentence that may be the answer."""

    number: int
    text: str


@dataclass(frozen=True, slots=True)
class Spoken:
    """A question of the conversation and what was answered."""

    question: str
    answer: str


def data(text: str) -> str:
    """Quoted text as it may stand inside a fence: it can hold no fence of ours, in any spelling that we know."""
    return _FORGED.sub("&lt;", text)


def cleaned(value: Any) -> Any:
    """A value as a template gets it: every text in it is ``data``."""
    if isinstance(value, str):
        return data(value)
    if isinstance(value, Sequence):
        return [cleaned(each) for each in value]
    if is_dataclass(value) and not isinstance(value, type):
        return replace(value, **{each.name: cleaned(getattr(value, each.name)) for each in fields(value)})
    return value


_PASSAGES = (
    Shown(1, "Kestrel router > Warranty", "It has a warranty of two years."),
    Shown(2, "", "Entry costs 6 euros."),
)
_TURNS = (Spoken("Is there a warranty?", "Yes."), Spoken("Who gives it?", ""))

# By task and style: values of every kind, so that each branch of a template can be tried.
SAMPLES: Mapping[str, Mapping[str, Sequence[Mapping[str, Any]]]] = {
    "answer": {
        "extract": [
            {"question": "How long?", "sentences": [Line(1, "Two years."), Line(2, "6 euros.")]},
            {"question": "How long?", "sentences": []},
        ],
        "passages": [
            {
                "question": "How long?",
                "passages": _PASSAGES,
                "instructions": "Answer like a pirate.",
                "no_answer": NO_ANSWER,
            },
            {"question": "How long?", "passages": [], "instructions": "", "no_answer": NO_ANSWER},
        ],
    },
    "summary": {
        "": [
            {"text": "It has a warranty of two years.", "focus": "the warranty"},
            {"text": "It has a warranty of two years.", "focus": ""},
        ]
    },
    "standalone": {"": [{"question": "And how long is it?", "turns": _TURNS}]},
    "expand": {"": [{"question": "How long is the warranty?", "count": 3}]},
}


def names(task: str, style: str) -> frozenset[str]:
    """The values that templates of a task and style are given."""
    return frozenset(SAMPLES[task][style][0])
