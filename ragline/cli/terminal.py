"""The terminal that the command line writes to, and what may go there."""

from __future__ import annotations

import re

from rich.console import Console
from rich.markup import escape

out = Console(highlight=False, soft_wrap=True)
# What would steer the terminal or turn the direction of writing; it may stand in anybody's document.
STEERING = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069]")


def shown(text: str) -> str:
    """What a document or the server says, as it can go to a terminal."""
    return escape(STEERING.sub("", text))
