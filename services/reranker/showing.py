"""What is shown of the loaded scorers and of what was done with them; never what is secret in their options."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

import orjson

from services.reranker.probe import described
from services.reranker.roster import Loaded
from services.reranker.settings import Choice

SECRET = re.compile(r"key|token|secret|password|authorization", re.IGNORECASE)
LOGIN = re.compile(r"//[^/@\s]+@")


@dataclass(frozen=True, slots=True)
class Event:
    """Something that was asked for, and what came of it."""

    at: str
    action: str
    name: str
    scorer: str
    outcome: Literal["done", "refused"]
    seconds: float
    reason: str | None = None
    probe: Mapping[str, Any] | None = None


def record(event: Event) -> dict[str, Any]:
    """An event as the wire has it."""
    return {name: getattr(event, name) for name in Event.__slots__}


def view(loaded: Loaded) -> dict[str, Any]:
    """A loaded scorer as the wire has it."""
    return {
        "name": loaded.name,
        "scorer": loaded.choice.scorer,
        "options": masked(loaded.choice.options),
        "probe": described(loaded.report),
    }


def masked(value: Any, name: str = "") -> Any:
    """Options without what must not be shown."""
    if isinstance(value, Mapping):
        return {str(key): masked(inner, str(key)) for key, inner in value.items()}
    if isinstance(value, list):
        return [masked(inner, name) for inner in value]
    if not isinstance(value, str):  # no number is a secret, and "max_tokens" is one
        return value
    if value and SECRET.search(name) and not name.lower().endswith("_file"):
        return "***"
    return LOGIN.sub("//***@", value)


def lines(choice: Choice) -> list[str]:
    """The settings that make a choice last beyond this process."""
    options = orjson.dumps(masked(choice.options)).decode()
    return [f"RERANKER_SCORER={choice.scorer}", f"RERANKER_SCORER_OPTIONS={options}"]
