"""Starts the retriever: reads its settings and wires its parts."""

from __future__ import annotations

import asyncio
import os
from concurrent.futures import ThreadPoolExecutor
from dataclasses import fields
from typing import Any, TypeVar

import grpc
from threadpoolctl import threadpool_limits

import ragline.cache
from ragline import backends, grpc_client, service, threads
from ragline.cache import Cache
from ragline.service import Service
from services.retriever import api, dense, gauges, rpc, sparse, stores
from services.retriever.asking import Options
from services.retriever.clients import PreprocessClient, RerankerClient
from services.retriever.keeping import Keeping
from services.retriever.limits import Limits
from services.retriever.search import Search
from services.retriever.settings import Settings
from services.retriever.stores import Store

T = TypeVar("T")


async def build(settings: Settings) -> Service:
    """The retriever with its store open; nothing is served yet. Raises SettingsError."""
    # Before FAISS loads: its threads must sleep, not spin, while they wait for one that has no core.
    os.environ.setdefault("OMP_WAIT_POLICY", "passive")
    # Searches run side by side in threads of ours; a second level of threads below would fight them for cores.
    threadpool_limits(limits=1, user_api="blas")
    count = settings.threads or threads.available()
    store = await asyncio.to_thread(open_store, settings, count)
    channels = [
        grpc_client.channel(address, max_message_mb=settings.max_message_mb)
        for address in (settings.preprocess_address, settings.reranker_address)
    ]
    cache = ragline.cache.open(settings.cache_url, name="retrieval") if settings.cache_url else None
    pool = ThreadPoolExecutor(count, thread_name_prefix="retriever-search")
    search = Search(
        store,
        PreprocessClient(channels[0], settings.embed_timeout_s),
        RerankerClient(channels[1], settings.rerank_timeout_s),
        pool,
        chosen(Options, settings, threads=count),
        Keeping(cache, settings.cache_ttl_s),
    )
    limits = chosen(Limits, settings)
    unwatch = gauges.watch(store)

    async def end() -> None:
        unwatch()
        await stop(store, pool, channels, cache)

    async def check() -> None:
        if store.local:
            store.check()
        else:
            await asyncio.to_thread(store.check)

    return Service(
        name="retriever",
        router=api.router(search, limits),
        add_rpc=rpc.add(search, store, limits),
        checks={"store": check},
        start=nothing,
        stop=end,
    )


def open_store(settings: Settings, count: int) -> Store:
    """The store with its indexes, brought up to date."""
    parts = stores.Parts(
        folder=settings.data_dir.absolute() / "retriever",
        sparse=backends.load(
            "services.retriever.sparse", settings.sparse, sparse.Parts(count), settings.sparse_options
        ),
        dense=backends.load(
            "services.retriever.dense", settings.dense, dense.Parts(count), settings.dense_options
        ),
        threads=count,
    )
    options: dict[str, Any] = dict(settings.store_options)
    if settings.store in {"embedded", "milvus"}:
        bounds = ("max_queued_writes", "max_queued_mb", "max_group_mb", "max_collections", "max_removed_mb")
        options = {name: getattr(settings, name) for name in (*bounds, "tombstone_ttl_s")} | options
    if settings.store == "milvus":
        urls = {"url": settings.milvus_url, "state_url": settings.state_url}
        options = {name: url.get_secret_value() for name, url in urls.items()} | options
    store: Store = backends.load("services.retriever.stores", settings.store, parts, options)
    return store


def chosen(kind: type[T], settings: Settings, **more: Any) -> T:
    """A dataclass filled from the settings of the same names."""
    names = {field.name for field in fields(kind)} & set(Settings.model_fields)  # type: ignore[arg-type]  # dataclasses
    return kind(**({name: getattr(settings, name) for name in names} | more))


async def nothing() -> None:
    """The store works from the moment it is open."""


async def stop(
    store: Store, pool: ThreadPoolExecutor, channels: list[grpc.aio.Channel], cache: Cache | None
) -> None:
    """Let the searches in hand end, finish the writes, then let go of everything."""
    await asyncio.to_thread(pool.shutdown, cancel_futures=True)
    await asyncio.to_thread(store.close)
    for channel in channels:
        await channel.close()
    if cache is not None:
        await cache.close()


def main() -> None:
    """Serve until a signal says stop."""
    service.run(build, Settings)


if __name__ == "__main__":
    main()
