"""``ragline batch``: sends a file of requests, shows how far they are, and fetches the results."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from ragline.cli.client import Client, Failure, refusal
from ragline.cli.ingest import ENDED, Interrupted

PART_BYTES = 1 << 20
POLL_S = 0.5


def send(client: Client, file: Path) -> str:
    """Send the requests of a file; returns the batch's id once they are safe."""
    try:
        with file.open("rb") as source:
            parts: Iterator[bytes] = iter(lambda: source.read(PART_BYTES), b"")
            headers = {"content-type": "application/jsonl"}
            answer = client.send("POST", "/batches", content=parts, headers=headers)
    except OSError as error:
        raise Failure(f"{file} cannot be read: {error.strerror}.") from error
    return str(answer["id"])


def wait(client: Client, batch_id: str, console: Console) -> dict[str, Any]:
    """The batch once it has ended."""
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    with Progress(*columns, console=console) as progress:
        bar = progress.add_task(batch_id, total=None)
        try:
            while True:
                view = client.get(f"/batches/{batch_id}")
                progress.update(bar, completed=view["done"], total=view["total"])
                if view["state"] in ENDED:
                    return view
                time.sleep(POLL_S)
        except KeyboardInterrupt:
            raise Interrupted(
                f"Stopped waiting; the batch goes on. `ragline batch {batch_id}` waits for it again."
            ) from None


def fetch(client: Client, batch_id: str, target: Path) -> None:
    """Write the results, one a line, in the order of the requests."""
    try:
        # Of a cancelled batch later lines may be there and earlier ones not: all are fetched.
        with (
            client.http.stream("GET", f"/batches/{batch_id}/results", params={"order": "finished"}) as answer,
            target.open("wb") as file,
        ):
            if answer.is_error:
                answer.read()
                raise refusal(answer)
            for part in answer.iter_bytes():
                file.write(part)
    except httpx.TransportError as error:
        raise client.unreachable(error) from error
    except OSError as error:
        raise Failure(f"{target} cannot be written: {error.strerror}.") from error
