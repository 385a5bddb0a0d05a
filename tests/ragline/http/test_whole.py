"""What one turn of the loop writes leaves as one write."""

from __future__ import annotations

import asyncio

import httpx
import pytest
from fastapi import FastAPI

from ragline.http.server import HttpServer
from ragline.http.whole import HELD, Joining


class Recorder:
    """A transport that keeps what each write brought."""

    def __init__(self) -> None:
        self.writes: list[bytes] = []
        self.closed = False

    def writelines(self, parts: list[bytes]) -> None:
        self.writes.append(b"".join(parts))

    def close(self) -> None:
        self.closed = True

    def is_closing(self) -> bool:
        return self.closed


async def test_writes_of_one_turn_leave_together() -> None:
    end = Recorder()
    transport = Joining(end, asyncio.get_running_loop())
    transport.write(b"head ")
    transport.write(b"body")
    assert end.writes == []
    await asyncio.sleep(0)
    assert end.writes == [b"head body"]


async def test_what_a_later_turn_writes_leaves_later() -> None:
    """A stream is not held back."""
    end = Recorder()
    transport = Joining(end, asyncio.get_running_loop())
    for part in (b"one", b"two"):
        transport.write(part)
        await asyncio.sleep(0)
    assert end.writes == [b"one", b"two"]


async def test_much_is_not_held() -> None:
    """Or a writer that never waits would fill the memory, however slow its reader is."""
    end = Recorder()
    transport = Joining(end, asyncio.get_running_loop())
    for _ in range(3):
        transport.write(b"x" * (HELD // 2 + 1))
    assert [len(each) for each in end.writes] == [HELD + 2]
    await asyncio.sleep(0)
    assert [len(each) for each in end.writes] == [HELD + 2, HELD // 2 + 1]


async def test_closing_sends_the_rest_first() -> None:
    end = Recorder()
    transport = Joining(end, asyncio.get_running_loop())
    transport.write(b"last")
    transport.close()
    assert end.writes == [b"last"]
    assert transport.is_closing()
    await asyncio.sleep(0)
    assert end.writes == [b"last"]


def nothing() -> dict[str, str]:
    """A route's answer."""
    return {}


async def test_an_answer_is_one_write(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of the real server: the head never goes ahead of a body that is there."""
    written: list[int] = []
    flush = Joining.flush

    def counted(self: Joining) -> None:
        if self.parts:
            written.append(len(self.parts))
        flush(self)

    monkeypatch.setattr(Joining, "flush", counted)
    app = FastAPI()
    app.get("/")(nothing)
    server = HttpServer(app, "127.0.0.1", 0)
    url = await server.start()
    async with httpx.AsyncClient(base_url=url, trust_env=False) as client:
        for _ in range(3):
            assert (await client.get("/")).json() == {}
    await server.stop(5)
    assert written == [2, 2, 2]
