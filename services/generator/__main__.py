"""Starts the generator: reads its settings and wires its parts."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import grpc
from fastapi import APIRouter

import ragline.cache
import ragline.rates
from ragline import service
from ragline.cache import Cache
from ragline.grpc_client import channel
from ragline.service import Service
from services.generator import api, asking, rpc
from services.generator.answer import Answerer, Choices
from services.generator.batches.opening import Opened, open_batches
from services.generator.conversations.opening import open_conversations
from services.generator.dialects.opening import open_chat, open_openai
from services.generator.feedback.opening import open_records
from services.generator.guarding import Chain, open_guards
from services.generator.keeping import Answers
from services.generator.lineup import Loaded, load_llms
from services.generator.prompts import Prompts
from services.generator.prompts.writing import Writing
from services.generator.room import Room
from services.generator.roster import Roster
from services.generator.semantic.opening import open_semantic
from services.generator.settings import Settings
from services.generator.sources import Sources, Timeouts
from services.generator.steps import Steps
from services.generator.summaries.kept import Summaries
from services.generator.summaries.summarize import Limits, Summarizer


@dataclass(frozen=True)
class Outside:
    """What has to be closed at the end."""

    llms: Loaded
    cache: Cache | None
    channels: tuple[grpc.aio.Channel, ...]

    async def close(self) -> None:
        """Let go of the models, the cache and the connections."""
        await self.llms.close()
        if self.cache:
            await self.cache.close()
        for each in self.channels:
            await each.close()


async def build(settings: Settings, within: Any | None = None) -> Service:
    """The generator with its LLM loaded; nothing is served yet. Raises SettingsError.

    ``within`` is an application with the other services' routes, where they are in the same process.
    """
    llms = load_llms(settings, ragline.rates.open(settings.rates_url))
    cache = ragline.cache.open(settings.cache_url, name="answers") if settings.cache_url else None
    retriever = channel(settings.retriever_address, max_message_mb=settings.max_message_mb)
    most = settings.max_message_mb
    reranker = settings.reranker_address and channel(settings.reranker_address, max_message_mb=most)
    outside = Outside(llms, cache, (retriever, reranker) if reranker else (retriever,))
    timeouts = Timeouts(settings.retrieve_timeout_s, settings.rerank_timeout_s)
    sources = Sources(retriever, reranker or None, timeouts, vectors=settings.semantic_cache)
    semantic = open_semantic(settings, cache, sources)
    answers = Answers(cache, settings.cache_ttl_s, room(settings, "answers"), semantic)
    guards = open_guards(settings.guards)
    kept = open_records(settings, guards)
    prompts = prompts_of(settings)
    talk = open_conversations(settings, llms.roster, prompts)
    answerer = Answerer(
        sources,
        llms.roster,
        answers,
        choices(settings),
        Steps(
            guards=guards,
            conversation=talk.conversations,
            expansion=talk.expansions,
            records=kept.records,
            writing=Writing(prompts, settings.prompt_tokens),
        ),
    )
    summaries = Summaries(cache, settings.cache_ttl_s)
    summarizer = summarizer_of(settings, sources, llms.roster, prompts, summaries, guards)
    limits = limits_of(settings)
    routes = api.router(answerer, summarizer, limits, settings.max_summary_documents)
    opened = open_batches(settings, routes, sources.check, within)

    async def stop() -> None:
        await opened.stop()
        await kept.stop()
        await talk.stop()
        await outside.close()

    made = Service(
        name="generator",
        router=together(routes, talk.router, kept.router, opened.router, open_chat(settings, answerer, limits)),
        add_rpc=rpc.add(answerer, limits),
        checks={"llm": llms.roster.default.check, "retriever": sources.check},
        start=opened.start,
        stop=stop,
        dialects=open_openai(settings, answerer, limits, opened.doors.embed),
    )
    return working(made, opened) if settings.role == "worker" else made


def together(*routers: APIRouter) -> APIRouter:
    """The routes of all."""
    routes = APIRouter()
    for router in routers:
        routes.include_router(router)
    return routes


def working(made: Service, opened: Opened) -> Service:
    """The service as one that answers nobody and works on batches alone."""
    assert opened.worker is not None  # noqa: S101 - this is its role
    checks = {**made.checks, "queue": opened.worker.check}
    return replace(made, router=APIRouter(), dialects=APIRouter(), add_rpc=no_rpc, checks=checks)


def no_rpc(server: grpc.aio.Server) -> Sequence[str]:
    """No services of its own."""
    return ()


def prompts_of(settings: Settings) -> Prompts:
    """The shipped prompts and those of the operator."""
    folders = [settings.prompts_dir] if settings.prompts_dir else []
    return Prompts(folders, settings.prompt, settings.collection_prompts)


def room(settings: Settings, what: str) -> Room:
    """Space for so many answers or summaries in the making."""
    return Room(settings.max_waiting, what, "GENERATOR_MAX_WAITING")


def limits_of(settings: Settings) -> asking.Limits:
    """What a request may ask for."""
    return asking.Limits(
        settings.max_query_chars,
        settings.max_filter_chars,
        settings.max_top_k,
        settings.max_answer_tokens,
        schema_chars=settings.max_schema_chars,
        expand=settings.max_expand,
        turns=settings.max_turns,
        turn_chars=settings.max_turn_chars,
    )


def summarizer_of(
    settings: Settings, sources: Sources, llms: Roster, prompts: Prompts, kept: Summaries, guards: Chain | None
) -> Summarizer:
    """What makes summaries, behind the same guards as answers."""
    limits = Limits(settings.max_summary_chars, settings.max_summary_parallel)
    return Summarizer(sources, llms, room(settings, "summaries"), limits, prompts, kept, guards)


def choices(settings: Settings) -> Choices:
    """How answers are made."""
    return Choices(
        rerank_pool=settings.rerank_pool,
        evidence_sentences=settings.evidence_sentences,
        prompt_tokens=settings.prompt_tokens,
        abstain_below=settings.abstain_below,
        unsupported=settings.unsupported,
    )


def main() -> None:
    """Serve until a signal says stop."""
    service.run(build, Settings)


if __name__ == "__main__":
    main()
