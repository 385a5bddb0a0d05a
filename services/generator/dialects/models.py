"""What OpenAI's clients may name as a model: GET /v1/models, a collection and a profile each."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from typing import Any, Literal

import structlog
from fastapi import APIRouter
from pydantic import BaseModel, Field

from ragline.errors import NotFound, RaglineError
from ragline.http import openai
from services.generator import profiles as named
from services.generator.api import TENANT
from services.generator.dialects.naming import COLLECTION, OWN
from services.generator.profiles import Profiles
from services.generator.sources import Sources

PATIENCE_S = 2.0  # for the names of models that others run

Kind = Literal["chat", "embedding", "reranker"]
Name = Callable[[], Awaitable[str]]

log = structlog.get_logger(__name__)


class About(BaseModel):
    """What a name stands for; those of models have no collection."""

    kind: Kind
    collection: str | None = None
    profile: str | None = Field(None, description="absent: the defaults")
    documents: int | None = None


class ModelBody(BaseModel):
    """A name that `model` may be."""

    id: str
    object: Literal["model"] = "model"
    created: int = Field(description="when this process started: collections do not say since when they are")
    owned_by: str = "ragline"
    ragline: About


class ModelsBody(BaseModel):
    """All names."""

    object: Literal["list"] = "list"
    data: list[ModelBody]


class Models:
    """The names that there are. ``embedder`` asks for the name of the embedding model."""

    def __init__(self, sources: Sources, profiles: Profiles, embedder: Name) -> None:
        self.sources, self.profiles, self.embedder = sources, profiles, embedder
        self.created = int(time.time())

    async def list(self) -> list[ModelBody]:
        """Every collection by itself and with each profile; raises Unavailable where the retriever is away.

        The embedding model and the reranker's scorer are left out where they cannot be asked.
        """
        collections, embedder, scorer = await asyncio.gather(
            self.sources.collections(TENANT), asked(self.embedder), asked(self.sources.scorer)
        )
        counts = {each.collection: int(each.documents) for each in collections}
        offered = {OWN: COLLECTION} | {name: name for name in sorted(counts) if name != OWN}
        models = [
            ModelBody(
                id=f"{name}:{profile}" if profile else name,
                created=self.created,
                ragline=About(
                    kind="chat", collection=where, profile=profile or None, documents=counts.get(where, 0)
                ),
            )
            for name, where in offered.items()
            for profile in ("", *sorted(set(self.profiles) - {named.DEFAULT}))
        ]
        others: dict[str, Kind] = {embedder: "embedding", scorer: "reranker"}
        models += [
            ModelBody(id=name, created=self.created, ragline=About(kind=kind))
            for name, kind in others.items()
            if name
        ]
        return models


async def asked(name: Name) -> str:
    """The name of a model that another service runs; empty where it does not say in time."""
    try:
        async with asyncio.timeout(PATIENCE_S):
            return await name()
    except (RaglineError, TimeoutError) as error:
        log.warning("a model's name is not known", reason=str(error) or "it takes too long")
        return ""


def router(models: Models) -> APIRouter:
    """The routes; they stand under /v1."""
    routes = APIRouter(tags=["openai"])
    extra: dict[str, Any] = openai.dialect()

    @routes.get("/models", openapi_extra=extra, summary="What `model` may be", response_model_exclude_none=True)
    async def listed() -> ModelsBody:
        """Collections, alone and with each profile; then the embedding model and the reranker's scorer."""
        return ModelsBody(data=await models.list())

    @routes.get(
        "/models/{name:path}", openapi_extra=extra, summary="One of them", response_model_exclude_none=True
    )
    async def one(name: str) -> ModelBody:
        """The one of that name."""
        for each in await models.list():
            if each.id == name:
                return each
        raise NotFound(f"There is no model {name[:200]!r}; GET /v1/models lists what there is.", field="model")

    return routes
