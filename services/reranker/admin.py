"""The door for whoever runs the reranker: which scorers are loaded, and swapping them while it serves."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from fastapi import APIRouter, Depends
from pydantic import BaseModel, ConfigDict, Field, SecretStr

from ragline.errors import InvalidRequest
from ragline.http import StrictBody
from ragline.http.admin import AdminDoor
from services.reranker.showing import record
from services.reranker.swap import Order, Swaps

PATH = "/admin/reranker"
EXAMPLE: dict[str, Any] = {
    "scorer": "cross_encoder",
    "options": {"model": "models/ms-marco-MiniLM-L6-v2"},
    "name": "minilm-ce",
    "role": "serve",
}


class OrderBody(StrictBody):
    """A scorer to load, or the name of one that is, and what it shall do."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [EXAMPLE, EXAMPLE | {"role": "canary", "share": 0.05}, {"name": "minilm-ce"}]
        }
    )

    scorer: Annotated[
        str | None, Field(min_length=1, description="a file's name or a module:Class, as in RERANKER_SCORER")
    ] = None
    options: Annotated[
        dict[str, Any], Field(default_factory=dict, description="its options, as in RERANKER_SCORER_OPTIONS")
    ]
    name: Annotated[
        str | None,
        Field(pattern=r"^[\w.-]{1,64}$", description="what requests call it; without scorer: one that is loaded"),
    ] = None
    role: Annotated[
        Literal["serve", "load", "canary", "shadow"],
        Field(description="serve: whoever names no scorer; load: who names it; canary, shadow: a share"),
    ] = "serve"
    share: Annotated[float, Field(gt=0, le=1, description="the part of the requests for a canary or a shadow")] = (
        0.1
    )
    judge: Annotated[
        str | None,
        Field(min_length=1, description="a loaded scorer that says whose order is better, for a shadow"),
    ] = None
    probe: Annotated[
        bool, Field(description="false: ask it only for sound scores, not for speed and known answers")
    ] = True

    def order(self) -> Order:
        """The order in plain types."""
        return Order(**self.model_dump())


class ProbeBody(BaseModel):
    """What the probe found: how many questions had the right passage first, and how many were needed.

    ``agreement`` is the share of the questions where the scorer that served put the same passage first, and
    ``serving_right`` how often that was the right one. ``p50_ms`` is for 20 short passages.
    """

    questions: int
    right: int
    needed: int
    p50_ms: float
    agreement: float | None
    serving_right: int | None


class EventBody(BaseModel):
    """Something that was asked for, and what came of it; ``reason`` where it was refused."""

    at: str
    action: str
    name: str
    scorer: str
    outcome: Literal["done", "refused"]
    seconds: float
    reason: str | None = None
    probe: ProbeBody | None = None


class LoadedBody(BaseModel):
    """A loaded scorer; what is secret in its options is not shown."""

    name: str
    scorer: str
    options: dict[str, Any]
    probe: ProbeBody | None = None


class PreviousBody(BaseModel):
    """What served before; ``held_s`` is how long it stays loaded, null where that has no end or it is gone."""

    name: str
    scorer: str
    loaded: bool
    held_s: float | None


class StateBody(BaseModel):
    """Everything that is loaded. ``persists``: the settings say the same, so that a restart changes nothing;
    ``settings`` are the lines that make it so.
    """

    serving: LoadedBody
    previous: PreviousBody | None
    others: list[LoadedBody]
    draining: dict[str, int]
    loading: str | None
    canary: dict[str, Any] | None
    shadow: dict[str, Any] | None
    history: list[EventBody]
    persists: bool
    settings: list[str]


def router(swaps: Swaps, token: SecretStr | None) -> APIRouter:
    """The routes under /admin/reranker."""
    door = AdminDoor(token, "RERANKER_ADMIN_TOKEN", "Scorers are swapped")
    routes = APIRouter(prefix=PATH, tags=["admin"], dependencies=[Depends(door)])

    @routes.get("", summary="What is loaded and serves")
    async def state() -> StateBody:
        """What serves and served before, what else is loaded or on trial, and the last 20 changes.

        A choice made here lasts until the process ends; then the settings decide again.
        """
        return StateBody.model_validate(swaps.describe())

    @routes.post("", summary="Load a scorer and give it a role")
    async def take(body: OrderBody) -> EventBody:
        """Load a scorer beside the one that serves, warm it, try it on questions with known answers, then switch.

        Requests that are at work end with the scorer that they began with. A scorer that is refused, with the
        reason, leaves everything as it was.
        """
        if body.options and body.scorer is None:
            raise InvalidRequest("options belong to a scorer that is loaded; name it.", field="options")
        return EventBody.model_validate(record(await swaps.take(body.order())))

    @routes.post("/back", summary="Let the scorer before serve again")
    async def back() -> EventBody:
        """Undo the last switch: at once while that scorer is held, else it is loaded and tried as any other."""
        return EventBody.model_validate(record(await swaps.back()))

    @routes.post("/promote", summary="Let the canary serve everybody")
    async def promote() -> EventBody:
        """End the canary's trial by a switch to it."""
        return EventBody.model_validate(record(await swaps.promote()))

    @routes.delete("/canary", summary="End the canary")
    async def stop_canary() -> EventBody:
        """The scorer that serves gets all requests again."""
        return EventBody.model_validate(record(await swaps.stop("canary")))

    @routes.delete("/shadow", summary="End the shadow")
    async def stop_shadow() -> EventBody:
        """No requests are copied any more."""
        return EventBody.model_validate(record(await swaps.stop("shadow")))

    @routes.delete("/loaded/{name}", summary="Unload a scorer")
    async def unload(name: str) -> EventBody:
        """Unload a scorer that has no role, once the requests that use it have ended."""
        return EventBody.model_validate(record(await swaps.unload(name)))

    return routes
