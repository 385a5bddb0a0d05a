"""Waits until a collection has come to a generation: whoever wrote it reads what he wrote."""

from __future__ import annotations

import asyncio
import time

from ragline import context
from ragline.errors import NotFound, TimedOut
from services.retriever.stores import Key, Store, View

FIRST_PAUSE_S, LONGEST_PAUSE_S = 0.001, 0.05
MARGIN = 0.1  # of the time there is: for the answer to get out before the caller gives up


async def wait(store: Store, key: Key, generation: int, most_s: float) -> View:
    """The view at ``generation`` or a later one; raises TimedOut, naming ``wait_for``, after ``most_s`` at most.

    Where views come from another machine, a collection that is not there yet is waited for, too.
    """
    began = time.monotonic()
    allowed_s = min(most_s, context.remaining_s(most_s) * (1 - MARGIN))
    pause_s = FIRST_PAUSE_S
    while True:
        now = 0
        try:
            view = store.view(key) if store.local else await asyncio.to_thread(store.view, key)
            if view.generation >= generation:
                return view
            now = view.generation
        except NotFound:
            if store.local:
                raise
        left_s = allowed_s - (time.monotonic() - began)
        if left_s <= 0:
            raise TimedOut(
                f"The collection {key.collection!r} is at generation {now} and did not come to {generation} in "
                f"{allowed_s:.1f} s; ask again, or give the request more time.",
                field="wait_for",
            )
        await asyncio.sleep(min(pause_s, left_s))
        pause_s = min(LONGEST_PAUSE_S, 2 * pause_s)
