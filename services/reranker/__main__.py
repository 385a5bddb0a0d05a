"""Starts the reranker: reads its settings and wires its parts."""

from __future__ import annotations

from urllib.parse import quote

from fastapi import APIRouter
from pydantic import SecretStr
from threadpoolctl import threadpool_limits

import ragline.cache
from ragline import service, threads
from ragline.cache import Cache
from ragline.models import ModelStore
from ragline.service import Service
from ragline.settings import SettingsError
from ragline.token_vectors import Layout
from services.reranker import admin, api, probe, rpc
from services.reranker.chain import Safety
from services.reranker.keeping import Scores
from services.reranker.loading import Bounds, Loader
from services.reranker.pool import Pool
from services.reranker.rerank import Limits, Reranker
from services.reranker.roster import Loaded, Roster
from services.reranker.scorers import Parts
from services.reranker.scorers._open import open_scorer
from services.reranker.settings import Choice, Settings
from services.reranker.starting import Starting, orders
from services.reranker.swap import Swaps
from services.reranker.trials import Trials


async def build(settings: Settings) -> Service:
    """The reranker with its scorers loaded; nothing is served yet. Raises SettingsError."""
    # The arithmetic here is small, and requests are side by side already: with more threads below, each product
    # would wait for busy cores, which makes it up to fifty times slower.
    threadpool_limits(limits=1, user_api="blas")
    token = admin_token(settings)
    questions = probe.read(settings.probes or probe.FILE)
    parts = parts_of(settings)
    roster = Roster(open_scorers(settings, parts))
    scores = ragline.cache.open(settings.scores_url, name="rerank_scores") if settings.scores_url else None
    trials = trials_of(settings, roster)
    reranker = Reranker(
        roster,
        limits(settings),
        Scores(scores, settings.scores_ttl_s),
        safety(settings, roster),
        trials,
        settings.calibration,
    )
    swaps = Swaps(
        roster,
        Loader(parts, bounds(settings), questions),
        trials,
        kept={*settings.extra_scorers, *settings.fallback},
        hold_s=settings.hold_s,
        most=settings.max_loaded,
    )
    starting = Starting(swaps, orders(settings, roster.names()))
    routes = APIRouter()
    routes.include_router(api.router(reranker))
    routes.include_router(admin.router(swaps, token))
    return Service(
        name="reranker",
        router=routes,
        add_rpc=rpc.add(reranker),
        checks={"scorer": lambda: roster.check(settings.fallback)},
        start=lambda: start(roster, starting),
        stop=lambda: stop(starting, trials, swaps, parts, scores),
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
        layout=Layout(settings.token_bits, settings.token_dimensions),
        data_dir=settings.data_dir.absolute(),
    )


def open_scorers(settings: Settings, parts: Parts) -> list[Loaded]:
    """The scorers by the names that requests use, the default one first."""
    default = open_scorer(settings.scorer, parts, settings.scorer_options)
    choice = Choice(scorer=settings.scorer, options=settings.scorer_options)
    loaded = {default.name: Loaded(default.name, default, choice)}
    for name, extra in settings.extra_scorers.items():
        if name in loaded:
            raise SettingsError(f"RERANKER_EXTRA_SCORERS has {name!r}, which is the default scorer's name.")
        loaded[name] = Loaded(name, open_scorer(extra.scorer, parts, extra.options), extra)
    return list(loaded.values())


def limits(settings: Settings) -> Limits:
    """The limits of a request."""
    return Limits(
        max_passages=settings.max_passages,
        max_passage_chars=settings.max_passage_chars,
        max_query_chars=settings.max_query_chars,
        max_total_chars=settings.max_total_chars,
        max_spans=settings.max_spans,
    )


def safety(settings: Settings, roster: Roster) -> Safety:
    """What is done about failures."""
    for name in settings.fallback:
        if name not in roster.names():
            there = ", ".join(roster.names())
            raise SettingsError(f"RERANKER_FALLBACK names {name!r}, which is not loaded; there is {there}.")
    return Safety(settings.fallback, settings.budget_s, settings.breaker_failures)


def trials_of(settings: Settings, roster: Roster) -> Trials:
    """What keeps the canary and the shadow."""
    return Trials(
        roster,
        settings.calibration,
        concurrency=settings.shadow_concurrency,
        timeout_s=settings.shadow_timeout_s,
        max_p95_s=settings.canary_max_p95_s,
    )


def bounds(settings: Settings) -> Bounds:
    """What loading a scorer live may take."""
    return Bounds(settings.load_timeout_s, settings.load_memory_factor, settings.probe_limit_ms)


def admin_token(settings: Settings) -> SecretStr | None:
    """What the administrator's door asks for, from its setting or the file that another names."""
    file, token = settings.admin_token_file, settings.admin_token
    if file is not None:
        if token:
            raise SettingsError("set RERANKER_ADMIN_TOKEN or RERANKER_ADMIN_TOKEN_FILE, not both.")
        try:
            token = SecretStr(file.read_text().strip())
        except OSError as error:
            raise SettingsError(f"RERANKER_ADMIN_TOKEN_FILE cannot be read: {error.strerror}.") from error
    if token is not None and not token.get_secret_value():
        raise SettingsError("RERANKER_ADMIN_TOKEN is empty; leave it out, or give it some 32 random characters.")
    return token


async def start(roster: Roster, starting: Starting) -> None:
    """Start the scorers' workers, and begin the trials."""
    await roster.start()
    starting.start()


async def stop(starting: Starting, trials: Trials, swaps: Swaps, parts: Parts, scores: Cache | None) -> None:
    """End the scorers' workers and let go of the caches."""
    await starting.close()
    await trials.close()
    await swaps.close()
    await swaps.roster.close()
    parts.pool.close()
    await parts.cache.close()
    if scores is not None:
        await scores.close()


def main() -> None:
    """Serve until a signal says stop."""
    service.run(build, Settings)


if __name__ == "__main__":
    main()
