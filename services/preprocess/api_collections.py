"""The REST door of collections: which embedder each is searched by, and the change to another one."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import APIRouter, Path, Response

from ragline.v1 import retriever_pb2 as pb
from services.preprocess.api import TENANT, answer, example
from services.preprocess.embed import Embedding
from services.preprocess.embedder_changes import Begun, EmbedderChanges
from services.preprocess.given import COLLECTION

NamePath = Annotated[str, Path(pattern=COLLECTION, description="the collection's name")]

STATE: dict[str, Any] = {
    "collection": "default",
    "documents": 120,
    "passages": 3400,
    "generation": 121,
    "embedder": "onnx-1-5d2f0c9a",
    "next_embedder": "hashing-1-256",
    "staged": 1700,
    "change": "begun",
}
LIST = {
    "collections": [STATE],
    "embedder": {"name": "all-MiniLM-L6-v2", "fingerprint": "onnx-1-5d2f0c9a", "dimensions": 384},
    "next_embedder": {"name": "hashing-256", "fingerprint": "hashing-1-256", "dimensions": 256},
}
BEGUN = {"collection": "default", "embedder": "hashing-1-256", "job_id": "job-5f0c"}
CURRENT = {"collection": "default", "embedder": "hashing-1-256", "job_id": None}


def router(changes: EmbedderChanges) -> APIRouter:
    """The routes over the use case."""
    routes = APIRouter(tags=["collections"])

    @routes.get("/collections", summary="List collections", responses=example(200, LIST))
    async def page() -> Response:
        """All collections, and the embedders that are loaded.

        `change` is `none` where a collection has the embedder that it should have, `due` where `POST
        /collections/{name}/reembed` would give it that, and `begun` once passages have been embedded by it:
        `staged` of `passages`. A collection is searched by `embedder` all the time.
        """
        found = [shown(changes, state) for state in await changes.states(TENANT)]
        loaded = changes.loaded
        following = loaded.following and described(loaded.following)
        return answer({"collections": found, "embedder": described(loaded.first), "next_embedder": following})

    @routes.get("/collections/{name}", summary="Ask for a collection", responses=example(200, STATE))
    async def get(name: NamePath) -> Response:
        """A collection, and how far the change of its embedder is."""
        return answer(shown(changes, await changes.state(TENANT, name)))

    @routes.post(
        "/collections/{name}/reembed",
        status_code=202,
        summary="Change the embedder of a collection",
        responses={**example(202, BEGUN), **example(200, CURRENT)},
    )
    async def reembed(name: NamePath) -> Response:
        """Embed all passages by the next embedder (PREPROCESS_NEXT_EMBEDDER), then search by that.

        Without a next embedder the first one is meant: for a collection whose own embedder is not loaded any more.
        Searches and writes go on. The answer is 202 once the job is durable, and 200 where there is nothing to do.
        Cancelling the job leaves the collection as it was.
        """
        begun = await changes.begin(TENANT, name)
        headers = {"location": f"/jobs/{begun.job_id}"} if begun.job_id else {}
        return answer(view(begun), 202 if begun.job_id else 200, headers)

    return routes


def view(begun: Begun) -> dict[str, Any]:
    """The answer to the start of a change."""
    body: dict[str, Any] = {
        "collection": begun.state.collection,
        "embedder": begun.target,
        "job_id": begun.job_id or None,
    }
    if begun.degraded:
        body["degraded"] = begun.degraded
    return body


def described(embedding: Embedding) -> dict[str, Any]:
    """An embedder that is loaded."""
    embedder = embedding.embedder
    return {"name": embedder.name, "fingerprint": embedder.fingerprint, "dimensions": embedder.dimensions}


def shown(changes: EmbedderChanges, state: pb.CollectionState) -> dict[str, Any]:
    """A collection as clients see it."""
    target = changes.loaded.target(state.fingerprint)
    change = "none"
    if target is not None and target.embedder.fingerprint != state.fingerprint:
        change = "begun" if state.next_fingerprint == target.embedder.fingerprint else "due"
    return {
        "collection": state.collection,
        "documents": state.documents,
        "passages": state.passages,
        "generation": state.generation,
        "embedder": state.fingerprint,
        "next_embedder": state.next_fingerprint or None,
        "staged": state.staged,
        "change": change,
    }
