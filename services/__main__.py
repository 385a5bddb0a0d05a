"""The all-in-one: the four services in one process, gRPC on loopback, all REST routes on one port."""

from __future__ import annotations

import sys
from collections.abc import Sequence

from fastapi import FastAPI

from ragline import log, service
from ragline.addresses import joined
from ragline.cli.settings import Settings
from ragline.http import create_app
from ragline.http.page import find
from ragline.service import Service
from ragline.settings import load
from services.generator.__main__ import build as build_generator
from services.generator.settings import Settings as GeneratorSettings
from services.preprocess.__main__ import build as build_preprocess
from services.preprocess.settings import Settings as PreprocessSettings
from services.reranker.__main__ import build as build_reranker
from services.reranker.settings import Settings as RerankerSettings
from services.retriever.__main__ import build as build_retriever
from services.retriever.settings import Settings as RetrieverSettings

LOOPBACK = "127.0.0.1"
READY = """\
Ragline is ready at {url}
{page}
  ragline ingest docs/                              put documents in
  ragline ask "How is a lost message retried?"      ask them
  ragline search "lost message"                     see the passages

{url}/docs describes every route. Ctrl-C stops it; the documents stay in {data}.
"""


async def main() -> None:
    """Build the services, those that others call first, and serve them until a signal says stop."""
    settings = load(Settings)
    log.configure(settings.log_level, settings.log_format)
    preprocess, retriever = load(PreprocessSettings), load(RetrieverSettings)
    reranker, generator = load(RerankerSettings), load(GeneratorSettings)
    for each in (preprocess, retriever, reranker, generator):
        each.make_data_dir()
    services: list[Service] = [
        await build_retriever(retriever),
        await build_preprocess(preprocess),
        await build_reranker(reranker),
    ]
    services.append(await build_generator(generator, inside(services)))
    page = find()
    await service.serve(
        services,
        http_address=(settings.host, settings.port),
        grpc_addresses={
            "preprocess": joined(LOOPBACK, preprocess.grpc_port),
            "retriever": joined(LOOPBACK, retriever.grpc_port),
            "reranker": joined(LOOPBACK, reranker.grpc_port),
            "generator": joined(LOOPBACK, generator.grpc_port),
        },
        settings=settings,
        title="Ragline",
        on_ready=lambda url: welcome(url, settings, with_page=page is not None),
        page=page,
    )


def inside(services: Sequence[Service]) -> FastAPI:
    """The doors of services for the others in this process, which need no socket for them."""
    checks = {f"{each.name}.{name}": check for each in services for name, check in each.checks.items()}
    return create_app("inside", [each.router for each in services], checks=checks)


def welcome(url: str, settings: Settings, *, with_page: bool) -> None:
    """Print what to try."""
    page = f"Open {url} in a browser to ask, read the sources and upload documents.\n" if with_page else ""
    sys.stdout.write(READY.format(url=url, page=page, data=settings.data_dir))
    sys.stdout.flush()


if __name__ == "__main__":
    service.execute(main)
