"""Bounds how much is in the making at once."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from ragline.errors import Overloaded


class Room:
    """Space for ``limit`` at a time; ``setting`` is the name of the limit in the error."""

    def __init__(self, limit: int, what: str, setting: str) -> None:
        self.limit = limit
        self.what = what
        self.setting = setting
        self.taken = 0

    @contextmanager
    def enter(self) -> Iterator[None]:
        """Take a place while inside; raises Overloaded where there is none."""
        if self.taken >= self.limit:
            raise Overloaded(
                f"{self.limit} {self.what} are in the making ({self.setting}); come back in a moment."
            )
        self.taken += 1
        try:
            yield
        finally:
            self.taken -= 1
