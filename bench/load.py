"""A lean HTTP/1.1 load generator: prebuilt requests over kept connections, to take little of the machine."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import uvloop


@dataclass(frozen=True)
class Load:
    """What a run of requests took. ``latencies_ms`` are sorted."""

    latencies_ms: list[float]
    wall_s: float

    @property
    def per_second(self) -> float:
        """Requests a second."""
        return len(self.latencies_ms) / self.wall_s


def run(port: int, path: str, bodies: Sequence[dict[str, Any]], clients: int) -> Load:
    """Post every body once, ``clients`` at a time; raises RuntimeError on any answer but 200."""
    requests = [encode(path, body) for body in bodies]
    return uvloop.run(drive(port, requests, clients))


def encode(path: str, body: dict[str, Any]) -> bytes:
    """The whole request as it goes over the wire."""
    content = json.dumps(body).encode()
    head = (
        f"POST {path} HTTP/1.1",
        "Host: bench",
        "Content-Type: application/json",
        f"Content-Length: {len(content)}",
    )
    return "\r\n".join((*head, "", "")).encode() + content


async def drive(port: int, requests: Sequence[bytes], clients: int) -> Load:
    """Share the requests among the clients."""
    waiting = iter(requests)
    latencies: list[float] = []

    async def client() -> None:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        for request in waiting:
            began = time.perf_counter()
            await exchange(reader, writer, request)
            latencies.append((time.perf_counter() - began) * 1000)
        writer.close()

    began = time.perf_counter()
    await asyncio.gather(*(client() for _ in range(clients)))
    return Load(sorted(latencies), time.perf_counter() - began)


async def exchange(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, request: bytes) -> bytes:
    """Send one request; returns the body of its answer."""
    writer.write(request)
    head = await reader.readuntil(b"\r\n\r\n")
    lowered = head.lower()
    start = lowered.index(b"content-length:") + 15
    body = await reader.readexactly(int(lowered[start : lowered.index(b"\r", start)]))
    if not head.startswith(b"HTTP/1.1 200"):
        raise RuntimeError(f"{head.splitlines()[0].decode()}: {body[:300].decode(errors='replace')}")
    return body
