"""How long a message may stay in hand: a broker takes one that is kept for too long for lost."""

from __future__ import annotations

import asyncio
import time

from ragline.broker import Unfinished


class Hold:
    """The time for one message. Work that would take longer goes on at the next delivery, with what was kept.

    ``gained`` says that there is something kept which the next delivery finds done; without it to stop would
    be to do the same again.
    """

    def __init__(self, limit_s: float) -> None:
        self.ends_at = time.monotonic() + limit_s
        self.gained = False

    @property
    def left_s(self) -> float:
        """Seconds left; none or less once the message should be given back."""
        return self.ends_at - time.monotonic()

    @property
    def over(self) -> bool:
        """Whether the message should be given back."""
        return self.left_s <= 0

    def give_back(self) -> None:
        """Raise Unfinished if the time is over and something was gained."""
        if self.over and self.gained:
            raise Unfinished("The rest follows.")

    async def pause(self, wanted_s: float, stopping: asyncio.Event) -> None:
        """Wait; raises Unfinished when the time is over or the worker stops, whatever was gained."""
        try:
            async with asyncio.timeout(max(0.0, min(wanted_s, self.left_s))):
                await stopping.wait()
        except TimeoutError:
            if not self.over:
                return
        raise Unfinished("What this needs is away.")
