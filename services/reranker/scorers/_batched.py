"""What the scorers that run a model on pairs share: batches across requests, and a worker that must live."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Generic, TypeVar

from ragline.batching import Batcher
from ragline.errors import Unavailable
from services.reranker.scorers import Candidate, Parts, Statistics
from services.reranker.scorers._calibration import DEFAULT, Calibration

Pair = TypeVar("Pair")


class Batched(Generic[Pair]):
    """Scores pairs of texts one by one, whichever request they are of.

    ``prepare`` makes one pair a passage of (query, texts), ``run`` gives one score a pair and ``size`` its
    tokens; ``fingerprint`` tells the model and its options from all others, ``calibration`` makes a score a
    chance. ``prepare`` runs in the pool, ``run`` in the batcher's own thread.
    """

    pairwise = True

    def __init__(
        self,
        name: str,
        parts: Parts,
        prepare: Callable[[str, Sequence[str]], Sequence[Pair]],
        run: Callable[[Sequence[Pair]], Sequence[float]],
        size: Callable[[Pair], int],
        fingerprint: str,
        calibration: Calibration = DEFAULT,
    ) -> None:
        self.name = name
        self.fingerprint = fingerprint
        self.calibration = calibration
        self.pool = parts.pool
        self.prepare = prepare
        self.batcher: Batcher[Pair, float] = Batcher(
            run, size=size, max_batch=parts.max_batch_tokens, max_queue=parts.max_queue_tokens, name=name
        )

    async def start(self) -> None:
        """Begin to score."""
        self.batcher.start()

    async def check(self) -> None:
        """Raise Unavailable once nothing can be scored any more."""
        if not self.batcher.healthy:
            raise Unavailable(f"The worker of the scorer {self.name} does not run; restart the reranker.")

    async def close(self) -> None:
        """Fail what waits and end the worker."""
        await self.batcher.close()

    async def score(
        self, query: str, passages: Sequence[Candidate], statistics: Statistics | None
    ) -> Sequence[float]:
        """What the model says of each pair; the first stage's scores and the statistics are not used."""
        if not passages:
            return []
        pairs = await self.pool.run(self.prepare, query, [passage.text for passage in passages])
        return await self.batcher.submit_many(pairs)
