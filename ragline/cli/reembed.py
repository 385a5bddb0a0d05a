"""``ragline reembed``: gives collections another embedder while they are searched, and shows how far that is."""

from __future__ import annotations

import time
from http import HTTPStatus
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from ragline.cli.client import Client, Failure
from ragline.cli.ingest import ENDED, Interrupted
from ragline.cli.terminal import shown

POLL_S = 0.3
NO_OTHER = (
    "There is no other embedder than the one that the collections have. Start preprocess with "
    "PREPROCESS_NEXT_EMBEDDER set to the one that they are to have; docs/how-to/change-the-embedder.md tells how."
)


def status(client: Client, console: Console) -> None:
    """Print each collection with its embedder, and what is loaded."""
    found = client.get("/collections")
    console.print(f"embedder: {shown(named(found['embedder']))}")
    console.print(f"next embedder: {shown(named(found['next_embedder'])) if found['next_embedder'] else 'none'}")
    for each in found["collections"]:
        change = {
            "none": "as it should be",
            "due": "to be embedded again (`ragline reembed`)",
            "begun": f"{each['staged']} of {each['passages']} passages embedded again",
        }[each["change"]]
        console.print(f"{shown(each['collection'])}: {shown(each['embedder'])}, {change}")


def due(client: Client) -> list[str]:
    """The collections that another embedder waits for; raises Failure where there is no other embedder."""
    found = client.get("/collections")
    names = [each["collection"] for each in found["collections"] if each["change"] != "none"]
    if not names and found["next_embedder"] is None:
        raise Failure(NO_OTHER)
    return names


def reembed(client: Client, collection: str, console: Console) -> str:
    """Change the embedder of a collection and wait until searches go by it; returns its fingerprint."""
    begun = client.send("POST", f"/collections/{collection}/reembed")
    job_id, embedder = begun["job_id"], str(begun["embedder"])
    if job_id is None:
        return embedder
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    with Progress(*columns, console=console) as progress:
        bar = progress.add_task(collection, total=None)
        try:
            while True:
                job, state = news(client, job_id), client.get(f"/collections/{collection}")
                switched = state["embedder"] == embedder
                done = state["passages"] if switched else state["staged"]
                progress.update(bar, completed=done, total=state["passages"])
                if switched:
                    return embedder
                if job["state"] in ENDED:
                    reasons = "; ".join(error["reason"] for error in job["errors"])
                    raise Failure(f"{collection} keeps its embedder: {reasons or 'the job was cancelled'}")
                time.sleep(POLL_S)
        except KeyboardInterrupt:
            raise Interrupted(
                "Stopped waiting; the collection is embedded on. `ragline reembed --status` tells how far it is."
            ) from None


def news(client: Client, job_id: str) -> dict[str, Any]:
    """The job; one that cannot be asked for now, or was not noted, is taken for open."""
    try:
        return client.get(f"/jobs/{job_id}")
    except Failure as failure:
        if failure.status not in {HTTPStatus.NOT_FOUND, HTTPStatus.SERVICE_UNAVAILABLE}:
            raise
        return {"state": "queued", "errors": []}


def named(embedder: dict[str, Any]) -> str:
    """An embedder as people know it."""
    return f"{embedder['name']} ({embedder['fingerprint']})"
