"""Runs the cutter in child processes, so that a hostile file takes down no more than itself."""

from __future__ import annotations

from services.preprocess.cut import CutDocument, CutOptions, Kind, Rejected


class Sandbox:
    """Cuts documents in ``processes`` children, each with its own time and memory.

    ``timeout_s`` and ``memory_mb`` bound one document. Children start when first needed and stay warm.
    """

    def __init__(
        self, options: CutOptions, *, processes: int = 1, timeout_s: float = 60, memory_mb: int = 2048
    ) -> None:
        self.options = options
        self.processes = processes
        self.timeout_s = timeout_s
        self.memory_mb = memory_mb

    async def start(self) -> None:
        """Start one child; raises SettingsError when the options are no good."""

    async def cut(
        self,
        data: bytes,
        *,
        name: str = "",
        media_type: str | None = None,
        title: str | None = None,
        kind: Kind | None = None,
    ) -> list[CutDocument | Rejected]:
        """The documents in ``data``; see ``services.preprocess.cut.Cutter.cut``."""
        raise RuntimeError("not started")

    async def close(self) -> None:
        """End the children."""
