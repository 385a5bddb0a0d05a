"""What every refusal must look like, and what no response may hold."""

import re
from pathlib import Path
from typing import Any

import httpx

ROOT = Path(__file__).parents[2]
INSIDE = re.compile(
    rf"Traceback|site-packages|\.py\b|{re.escape(str(ROOT))}|{re.escape(str(Path.home()))}/|/pytest-of-"
)
STREAMS = "text/event-stream"


def inspect(response: httpx.Response) -> None:
    """Fail where a response tells of the server's code or folders."""
    if not response.headers.get("content-type", "").startswith(STREAMS):
        response.read()
        clean(response.text)


def clean(text: str) -> None:
    """Fail where ``text`` tells of the server's code or folders."""
    found = INSIDE.search(text)
    assert not found, text[max(0, found.start() - 200) : found.end() + 200]


def problem(response: httpx.Response, status: int, *told: str) -> dict[str, Any]:
    """The problem document of a refusal, whose text must hold each of ``told``."""
    assert response.status_code == status, response.text[:500]
    assert response.headers["content-type"] == "application/problem+json"
    body: dict[str, Any] = response.json()
    assert body["status"] == status
    assert body["type"]
    assert body["title"]
    assert body["instance"] == response.headers["x-request-id"]
    detail: str = body["detail"]
    assert detail.endswith((".", "?"))
    assert "\n" not in detail
    assert len(detail) < 1000
    for each in told:
        assert each in response.text, f"{each!r} is not in {response.text}"
    return body
