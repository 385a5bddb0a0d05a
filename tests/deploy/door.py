"""The public door as a client sees it, with the standard library alone: these scripts run beside any Docker."""

from __future__ import annotations

import json
import os
import time
import urllib.error
import urllib.request
import uuid
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

URL = f"http://127.0.0.1:{os.environ.get('RAGLINE_PORT', '8080')}"
ENDED = frozenset({"done", "failed", "cancelled"})


class Wrong(Exception):
    """What was not as it must be, in a sentence."""


@dataclass(frozen=True)
class Answer:
    """What came back: the status, the JSON body and how many seconds it took."""

    status: int
    body: dict[str, Any]
    seconds: float


def send(
    method: str, path: str, data: bytes | None = None, media_type: str = "application/json", timeout_s: float = 60
) -> Answer:
    """One request; a refusal is an answer too. Raises OSError where nothing answers."""
    request = urllib.request.Request(URL + path, data, {"Content-Type": media_type}, method=method)  # noqa: S310
    begun = time.monotonic()
    try:
        with urllib.request.urlopen(request, timeout=timeout_s) as response:  # noqa: S310 - it is our own http URL
            return Answer(response.status, json.load(response), time.monotonic() - begun)
    except urllib.error.HTTPError as error:
        text = error.read().decode(errors="replace")
        body = json.loads(text) if text.startswith("{") else {"detail": text}
        return Answer(error.code, body, time.monotonic() - begun)


def get(path: str) -> dict[str, Any]:
    """The JSON at ``path``; raises Wrong unless it is 200."""
    return checked("GET", path, send("GET", path))


def post(path: str, body: Mapping[str, Any]) -> dict[str, Any]:
    """The JSON answer to a JSON body; raises Wrong unless it is a success."""
    return checked("POST", path, send("POST", path, json.dumps(body).encode()))


def checked(method: str, path: str, answer: Answer) -> dict[str, Any]:
    """The body of a success; raises Wrong with the problem of anything else."""
    if answer.status >= 300:
        raise Wrong(f"{method} {path} answered {answer.status}: {answer.body}")
    return answer.body


def lines(path: str) -> list[dict[str, Any]]:
    """The objects at ``path``, one a line."""
    with urllib.request.urlopen(URL + path, timeout=60) as response:  # noqa: S310
        return [json.loads(line) for line in response]


def events(path: str, body: Mapping[str, Any]) -> Iterator[tuple[str, float]]:
    """The kinds of a stream's events, each with the seconds since the request was sent."""
    data = json.dumps({**body, "stream": True}).encode()
    headers = {"Content-Type": "application/json", "Accept": "text/event-stream"}
    begun = time.monotonic()
    request = urllib.request.Request(URL + path, data, headers)  # noqa: S310
    with urllib.request.urlopen(request, timeout=60) as stream:  # noqa: S310
        for line in stream:
            if line.startswith(b"event:"):
                yield line.removeprefix(b"event:").strip().decode(), time.monotonic() - begun


def upload(files: Mapping[str, Path], collection: str) -> str:
    """Send files by their ids as one job; returns its path."""
    boundary = uuid.uuid4().hex
    parts = [field("collection", collection), field("ids", json.dumps(list(files)))]
    named = 'Content-Disposition: form-data; name="files"; filename="{}"\r\n\r\n'
    parts += [named.format(path.name).encode() + path.read_bytes() for path in files.values()]
    body = b"".join(b"--" + boundary.encode() + b"\r\n" + part + b"\r\n" for part in parts)
    body += f"--{boundary}--\r\n".encode()
    answer = send("POST", "/documents", body, f"multipart/form-data; boundary={boundary}")
    return f"/jobs/{checked('POST', '/documents', answer)['job_id']}"


def field(name: str, value: str) -> bytes:
    """A plain field of a form."""
    return f'Content-Disposition: form-data; name="{name}"\r\n\r\n{value}'.encode()


def ended(path: str, timeout_s: float = 120) -> dict[str, Any]:
    """The job or batch at ``path`` once it is over; raises Wrong where it does not end well or in time."""
    deadline = time.monotonic() + timeout_s
    while time.monotonic() < deadline:
        state = get(path)
        if state["state"] in ENDED:
            if state["state"] != "done" or state["failed"]:
                raise Wrong(f"it ended badly: {state}")
            return state
        time.sleep(0.1)
    raise Wrong(f"{path} did not end within {timeout_s:g} s")
