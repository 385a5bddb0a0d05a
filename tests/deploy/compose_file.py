"""docker-compose.yml as Docker Compose reads it on a machine without .env."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import yaml

ROOT = Path(__file__).parents[2]
FILE = ROOT / "docker-compose.yml"
# The innermost first, so that a default may hold another variable.
VARIABLE = re.compile(r"\$\{([A-Z0-9_]+):-([^${}]*)\}")


def load() -> dict[str, Any]:
    """The whole file, with the default of each variable in its place."""
    found: dict[str, Any] = yaml.safe_load(filled(FILE.read_text()))
    return found


def filled(text: str) -> str:
    """``text`` with each ``${NAME:-default}`` replaced by its default."""
    while VARIABLE.search(text):
        text = VARIABLE.sub(lambda match: match[2], text)
    return text


def variables() -> dict[str, str]:
    """Every variable that the file asks for, with its default."""
    text, found = FILE.read_text(), {}
    while match := VARIABLE.search(text):
        found[match[1]] = match[2]
        text = text.replace(match[0], match[2])
    return found


def environment(service: dict[str, Any]) -> dict[str, str]:
    """What a service's processes find in their environment; what has no value is not there."""
    return {name: str(value) for name, value in service.get("environment", {}).items() if value is not None}


def seconds(text: str) -> float:
    """A duration such as ``20s``."""
    match = re.fullmatch(r"(\d+)(s|m)", text)
    assert match, text
    return float(match[1]) * {"s": 1, "m": 60}[match[2]]
