"""Takes the time of each stage of a request."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager


class Clock:
    """Milliseconds by stage, from when it is made; a stage that comes again adds up."""

    def __init__(self) -> None:
        self.began = time.perf_counter()
        self.times_ms: dict[str, float] = {}

    @contextmanager
    def stage(self, name: str) -> Iterator[None]:
        """Take the time of what runs inside."""
        began = time.perf_counter()
        try:
            yield
        finally:
            self.add(name, time.perf_counter() - began)

    def add(self, name: str, seconds: float) -> None:
        """Count ``seconds`` to a stage."""
        self.times_ms[name] = round(self.times_ms.get(name, 0.0) + seconds * 1000, 3)

    def move(self, stage: str, part: str, ms: float) -> None:
        """Show ``part`` of a stage, ``ms`` long, as a stage of its own."""
        if ms:
            self.times_ms[stage] = round(max(0.0, self.times_ms[stage] - ms), 3)
            self.times_ms[part] = round(ms, 3)

    def total(self, others: Mapping[str, float]) -> dict[str, float]:
        """All stages, those of ``others`` too, and the time since the clock was made as ``total``."""
        total = round((time.perf_counter() - self.began) * 1000, 3)
        return {**self.times_ms, **others, "total": total}
