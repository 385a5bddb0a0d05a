"""Runs the cutter in child processes, so that a hostile file takes down no more than itself."""

from __future__ import annotations

import asyncio
import signal
import sys
from asyncio.subprocess import DEVNULL, PIPE, Process
from dataclasses import asdict

import structlog

from ragline.errors import InvalidRequest, Unavailable
from ragline.settings import SettingsError
from services.preprocess import frames
from services.preprocess.cut import CutDocument, CutOptions, Kind, Rejected

log = structlog.get_logger(__name__)

START_S = 60.0
BUFFER_BYTES = 1 << 20  # of an answer on its way: small ones make large answers slow
CHILD = "services.preprocess.child"
DIED = {
    -signal.SIGKILL: "its parser was killed, most likely for the memory it took (PREPROCESS_PARSE_MEMORY_MB)",
    -signal.SIGXCPU: "its parser used up its processor time (PREPROCESS_PARSE_TIMEOUT_S); split it",
    -signal.SIGSEGV: "its parser crashed",
    -signal.SIGABRT: "its parser gave up",
}


class Sandbox:
    """Cuts documents in ``processes`` children, each with its own time and memory.

    ``timeout_s`` and ``memory_mb`` bound one document. Children start when first needed and stay warm; one that
    crashes or is too slow is replaced, and only its document fails.
    """

    def __init__(
        self, options: CutOptions, *, processes: int = 1, timeout_s: float = 60, memory_mb: int = 2048
    ) -> None:
        self.options = options
        self.processes = processes
        self.timeout_s = timeout_s
        self.memory_mb = memory_mb
        self.places = asyncio.Semaphore(processes)
        self.idle: list[Process] = []
        self.closed = False

    async def start(self) -> None:
        """Start one child; raises SettingsError when the options are no good."""
        self.idle.append(await self.spawn())

    async def cut(
        self,
        data: bytes,
        *,
        name: str = "",
        media_type: str | None = None,
        title: str | None = None,
        kind: Kind | None = None,
    ) -> list[CutDocument | Rejected]:
        """The documents in ``data``; see ``services.preprocess.cut.Cutter.cut``.

        Raises what the cutter raises, and InvalidRequest when the file crashes its parser or takes too long.
        """
        request = frames.Request(name, media_type, title, kind)
        async with self.places:
            child = self.idle.pop() if self.idle else await self.spawn()
            try:
                async with asyncio.timeout(self.timeout_s):
                    reply = await exchange(child, frames.pack_request(request, data))
            except TimeoutError:
                limit = f"{self.timeout_s:g} s (PREPROCESS_PARSE_TIMEOUT_S)"
                raise InvalidRequest(f"It could not be read within {limit}; split it.") from None
            except (EOFError, ConnectionError):
                raise InvalidRequest(f"It could not be read: {await reason(child)}.") from None
            else:
                self.give_back(child)
            finally:
                if child not in self.idle:
                    await end(child)
        try:
            return await asyncio.to_thread(frames.unpack_reply, reply)
        except frames.Crashed:
            log.exception("parser failed", file=name, media_type=media_type)
            raise InvalidRequest("It could not be read: its parser failed, and the log says how.") from None

    async def close(self) -> None:
        """End the children."""
        self.closed = True
        while self.idle:
            await end(self.idle.pop())

    def give_back(self, child: Process) -> None:
        """Keep a child for the next document, unless the sandbox is closed."""
        if not self.closed:
            self.idle.append(child)

    async def spawn(self) -> Process:
        """A child that has loaded what the options name."""
        if self.closed:
            raise Unavailable("This service is stopping.")
        child = await asyncio.create_subprocess_exec(
            sys.executable, "-m", CHILD, stdin=PIPE, stdout=PIPE, stderr=DEVNULL, limit=BUFFER_BYTES
        )
        hello = {**asdict(self.options), "tokenizer_file": str(self.options.tokenizer_file or "")}
        try:
            async with asyncio.timeout(START_S):
                fault = await exchange(child, frames.pack_hello(hello, self.memory_mb, self.timeout_s))
        except (TimeoutError, EOFError, ConnectionError):
            await end(child)
            raise Unavailable("No process for reading documents could be started.") from None
        if fault:
            await end(child)
            raise SettingsError(fault.decode())
        return child


async def exchange(child: Process, frame: bytes) -> bytes:
    """Send one frame, return the one that answers it. Raises EOFError or ConnectionError when the child died."""
    assert child.stdin is not None  # noqa: S101 - it was started with pipes
    assert child.stdout is not None  # noqa: S101
    try:
        child.stdin.write(frame)
    except RuntimeError as error:  # uvloop's, where the child had ended before
        raise ConnectionError("the child has ended") from error
    await child.stdin.drain()
    length = int.from_bytes(await child.stdout.readexactly(frames.LENGTH), "big")
    return await child.stdout.readexactly(length)


async def reason(child: Process) -> str:
    """Why a child that closed its pipes did so."""
    return DIED.get(await child.wait(), "its parser ended without an answer")


async def end(child: Process) -> None:
    """Kill a child and collect it; none of its work is wanted any more."""
    if child.returncode is None:
        child.kill()
    await child.wait()
