"""The scorers that a comparison is asked for, and how a reranker is told to load them."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from ragline.evaluation import EvaluationError

NONE = "none"  # the order of the search
IDLE = "overlap"  # a reranker needs a default scorer; this one costs nothing
FORMS = 'write name, name={"option": …}, module:Class, or label: before any of them'
OBJECT = re.compile(r"^[A-Za-z_][\w.]*$")


@dataclass(frozen=True)
class Asked:
    """A scorer to measure: what the tables call it, its name or ``module:Class``, and its options."""

    label: str
    scorer: str
    options: Mapping[str, Any] = field(default_factory=dict)


def parse(text: str) -> Asked:
    """``[label:]name[={JSON}]``, where a name may be ``module:Class``; raises EvaluationError.

    Of two parts the second is a class where it begins with a capital letter or the first holds a dot.
    """
    head, given, tail = text.partition("=")
    parts = head.split(":")
    if not all(map(OBJECT.match, parts)) or len(parts) > 3:
        raise EvaluationError(f"{text!r} names no scorer; {FORMS}.")
    if len(parts) == 3:
        label, scorer = parts[0], f"{parts[1]}:{parts[2]}"
    elif len(parts) == 2 and (parts[1][:1].isupper() or "." in parts[0]):
        label, scorer = parts[1], head
    else:
        label, scorer = parts[0], parts[-1]
    return Asked(label, scorer, options(text, tail) if given else {})


def options(text: str, tail: str) -> dict[str, Any]:
    """The options after the name."""
    try:
        value = json.loads(tail)
    except json.JSONDecodeError as error:
        raise EvaluationError(f"{text!r}: its options are not JSON ({error.msg}); {FORMS}.") from None
    if not isinstance(value, dict):
        raise EvaluationError(f"{text!r}: its options are no JSON object; {FORMS}.")
    return value


def parse_all(texts: Sequence[str]) -> list[Asked]:
    """All that are asked for, each label once, with the order of the search among them; raises EvaluationError."""
    every = [parse(text) for text in texts]
    labels = [asked.label for asked in every]
    twice = next((label for label in labels if labels.count(label) > 1), None)
    if twice is not None:
        raise EvaluationError(f"{twice!r} is there twice; tell them apart by labels, such as b:{twice}.")
    for asked in every:
        if (asked.label == NONE) != (asked.scorer == NONE) or (asked.label == NONE and asked.options):
            raise EvaluationError("none is the order of the search; it has no label and no options.")
        if asked.label == IDLE != asked.scorer:
            raise EvaluationError(f"{IDLE!r} is the name of another scorer; choose another label.")
    return every if NONE in labels else [*every, Asked(NONE, NONE)]


def settings(every: Sequence[Asked]) -> dict[str, str]:
    """The reranker's settings that load them, each by its label."""
    idle = next((asked.options for asked in every if asked.label == IDLE), {})
    extra = {
        asked.label: {"scorer": asked.scorer, "options": dict(asked.options)}
        for asked in every
        if asked.label not in {NONE, IDLE}
    }
    return {
        "RERANKER_SCORER": IDLE,
        "RERANKER_SCORER_OPTIONS": json.dumps(dict(idle)),
        "RERANKER_EXTRA_SCORERS": json.dumps(extra),
    }
