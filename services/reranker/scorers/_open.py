"""Loads a scorer by name and makes sure that it is one; a scorer with a plain ``score`` is run in a thread."""

from __future__ import annotations

import inspect
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from ragline import backends
from ragline.settings import SettingsError
from services.reranker.pool import Pool
from services.reranker.scorers import Candidate, Parts, Scorer, Statistics

PACKAGE = "services.reranker.scorers"


class Threaded:
    """A scorer whose ``score`` is a plain function, called in the pool's threads, several at once."""

    def __init__(self, inner: Any, pool: Pool) -> None:
        self.inner = inner
        self.name: str = inner.name
        self.pool = pool

    async def score(
        self, query: str, passages: Sequence[Candidate], statistics: Statistics | None
    ) -> Sequence[float]:
        """What the inner scorer says, computed off the event loop."""
        scores: Sequence[float] = await self.pool.run(self.inner.score, query, passages, statistics)
        return scores

    def __getattr__(self, attribute: str) -> Any:
        """``start``, ``check``, ``close`` and ``explain`` are the inner scorer's, where it has them."""
        return getattr(self.inner, attribute)


def open_scorer(name: str, parts: Parts, options: Mapping[str, Any]) -> Scorer:
    """The scorer called ``name``: a file of this folder, an entry point or ``module:Class``.

    It gets threads of its own, so that one that hangs leaves the others theirs. Raises SettingsError for an
    unknown name, a missing dependency, a bad option, or a thing that is no scorer.
    """
    parts = replace(parts, pool=parts.pool.branch())
    scorer: Any = backends.load(PACKAGE, name, parts, options)
    if not isinstance(getattr(scorer, "name", None), str) or not callable(getattr(scorer, "score", None)):
        raise SettingsError(f"{name} is no scorer: it needs a name and score(query, passages, statistics).")
    checked: Scorer = scorer if inspect.iscoroutinefunction(scorer.score) else Threaded(scorer, parts.pool)
    return checked
