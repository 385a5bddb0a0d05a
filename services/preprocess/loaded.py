"""The embedders that are loaded: the first, and while a change of embedders lasts the one that is to follow it."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass

from services.preprocess.embed import Embedding


@dataclass(frozen=True)
class Loaded:
    """``first`` embeds what names no embedder; a collection says by its fingerprint which of them it wants."""

    first: Embedding
    following: Embedding | None = None

    @property
    def all(self) -> list[Embedding]:
        """Each of them."""
        return [self.first] if self.following is None else [self.first, self.following]

    def of(self, fingerprint: str) -> Embedding | None:
        """The one of this fingerprint, if it is loaded."""
        return next((each for each in self.all if each.embedder.fingerprint == fingerprint), None)

    def target(self, fingerprint: str) -> Embedding | None:
        """What a collection that is searched by ``fingerprint`` is to be embedded by; None: there is no other.

        That is the one that follows, and without such a one the first.
        """
        wanted = self.following or self.first
        return None if self.following is None and wanted.embedder.fingerprint == fingerprint else wanted

    async def start(self) -> None:
        """Take work; one after the other, as each claims its memory."""
        for each in self.all:
            await each.start()

    async def close(self) -> None:
        """Let what is in hand finish and end."""
        await asyncio.gather(*(each.close() for each in self.all))

    async def ready(self) -> None:
        """Raise Unavailable unless all of them take work."""
        for each in self.all:
            await each.ready()

    async def purge(self, texts: Sequence[str]) -> None:
        """Forget what each of them made of texts."""
        for each in self.all:
            await each.purge(texts)
