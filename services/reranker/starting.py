"""Puts the scorers that the settings want tried on trial, once the service serves; a broken one stops nothing."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

import structlog

from ragline.errors import RaglineError
from services.reranker.settings import Settings, Shadowed
from services.reranker.swap import Order, Swaps

log = structlog.get_logger(__name__)


def orders(settings: Settings, loaded: Sequence[str]) -> list[Order]:
    """What the settings want tried; a scorer that is ``loaded`` by that name is taken as it is."""
    made: list[Order] = []
    for trial in (settings.canary, settings.shadow):
        if trial is None:
            continue
        plain = trial.scorer in loaded and not trial.options and trial.name is None
        made.append(
            Order(
                scorer=None if plain else trial.scorer,
                options=trial.options,
                name=trial.scorer if plain else trial.name,
                role="shadow" if isinstance(trial, Shadowed) else "canary",
                share=trial.share,
                judge=trial.judge if isinstance(trial, Shadowed) else None,
                probe=trial.probe,
            )
        )
    return made


class Starting:
    """Loads and begins in the background: the service serves meanwhile."""

    def __init__(self, swaps: Swaps, wanted: Sequence[Order]) -> None:
        self.swaps = swaps
        self.wanted = wanted
        self.task: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Begin."""
        if self.wanted:
            self.task = asyncio.create_task(self.run())

    async def run(self) -> None:
        """One after the other; returns when each is on trial or refused."""
        for order in self.wanted:
            what = {"role": order.role, "scorer": order.scorer or order.name}
            try:
                await self.swaps.take(order)
            except RaglineError as error:
                log.warning("trial does not begin", **what, reason=error.detail)
            except Exception:  # a scorer on trial is anybody's, and what serves is to serve on
                log.exception("trial does not begin", **what)

    async def close(self) -> None:
        """End what is not done yet."""
        if self.task is not None:
            self.task.cancel()
            await asyncio.gather(self.task, return_exceptions=True)
