"""Starts the reranker: reads its settings and wires its parts."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from typing import Any
from urllib.parse import quote

from threadpoolctl import threadpool_limits

import ragline.cache
from ragline import service, threads
from ragline.cache import Cache
from ragline.models import ModelStore
from ragline.service import Service
from ragline.settings import SettingsError
from services.reranker import api, rpc
from services.reranker.keeping import Scores
from services.reranker.pool import Pool
from services.reranker.rerank import Limits, Reranker
from services.reranker.scorers import Parts, Scorer
from services.reranker.scorers._open import open_scorer
from services.reranker.settings import Settings


async def build(settings: Settings) -> Service:
    """The reranker with its scorers loaded; nothing is served yet. Raises SettingsError."""
    # The arithmetic here is small and runs in a thread a request: with a second level of threads below, each
    # product would wait for busy cores, which makes it up to fifty times slower.
    threadpool_limits(limits=1, user_api="blas")
    parts = parts_of(settings)
    scorers = open_scorers(settings, parts)
    scores = ragline.cache.open(settings.scores_url, name="rerank_scores") if settings.scores_url else None
    reranker = Reranker(scorers, next(iter(scorers)), limits(settings), Scores(scores, settings.scores_ttl_s))
    return Service(
        name="reranker",
        router=api.router(reranker),
        add_rpc=rpc.add(reranker),
        checks={name: hook(scorer, "check") for name, scorer in scorers.items() if hasattr(scorer, "check")},
        start=lambda: start(scorers),
        stop=lambda: stop(scorers, parts, scores),
    )


def parts_of(settings: Settings) -> Parts:
    """What every scorer is handed."""
    count = settings.threads or threads.available()
    file = settings.data_dir.absolute() / "cache.db"
    return Parts(
        model=ModelStore(settings.models_dir).resolve,
        cache=ragline.cache.open(settings.cache_url or f"sqlite://{quote(str(file))}", name="token_vectors"),
        pool=Pool(count, settings.max_waiting),
        threads=count,
        max_batch_tokens=settings.max_batch_tokens,
        max_queue_tokens=settings.max_queue_tokens,
    )


def open_scorers(settings: Settings, parts: Parts) -> dict[str, Scorer]:
    """The scorers by the names that requests use, the default one first."""
    default = open_scorer(settings.scorer, parts, settings.scorer_options)
    scorers = {default.name: default}
    for name, choice in settings.extra_scorers.items():
        if name in scorers:
            raise SettingsError(f"RERANKER_EXTRA_SCORERS has {name!r}, which is the default scorer's name.")
        scorers[name] = open_scorer(choice.scorer, parts, choice.options)
    return scorers


def limits(settings: Settings) -> Limits:
    """The limits of a request."""
    return Limits(
        max_passages=settings.max_passages,
        max_passage_chars=settings.max_passage_chars,
        max_query_chars=settings.max_query_chars,
        max_total_chars=settings.max_total_chars,
    )


def hook(scorer: Scorer, name: str) -> Callable[[], Awaitable[None]]:
    """A scorer's ``start``, ``check`` or ``close``; does nothing where the scorer has none."""

    async def nothing() -> None:
        return None

    found: Any = getattr(scorer, name, nothing)
    called: Callable[[], Awaitable[None]] = found
    return called


async def start(scorers: Mapping[str, Scorer]) -> None:
    """Start the scorers' workers."""
    for scorer in scorers.values():
        await hook(scorer, "start")()


async def stop(scorers: Mapping[str, Scorer], parts: Parts, scores: Cache | None) -> None:
    """End the scorers' workers and let go of the caches."""
    for scorer in scorers.values():
        await hook(scorer, "close")()
    parts.pool.close()
    await parts.cache.close()
    if scores is not None:
        await scores.close()


def main() -> None:
    """Serve until a signal says stop."""
    service.run(build, Settings)


if __name__ == "__main__":
    main()
