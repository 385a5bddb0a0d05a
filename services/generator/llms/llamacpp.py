"""Runs a GGUF model in this process with llama.cpp, offline and without a GPU."""

from __future__ import annotations

import asyncio
import secrets
import threading
from collections.abc import AsyncGenerator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Annotated, Any

import structlog
import xllamacpp
from pydantic import Field

from ragline.errors import Internal, InvalidRequest, RaglineError, TooLarge, Unavailable
from ragline.settings import SettingsError
from services.generator.checks.evidence import words
from services.generator.llms import Finish, Parts, Piece, Usage
from services.generator.llms._bounds import Slots, within
from services.generator.llms._tokens import Tokenizer
from services.generator.prompt import Prompt, Style

# Prefill is done in batches of so many tokens; between two of them a request can be cancelled.
BATCH_TOKENS = 128
# As many words of a sentence must have been copied before it counts as chosen.
CHOSEN_WORDS = 4

Count = Annotated[int, Field(ge=1)]

log = structlog.get_logger(__name__)


def load(
    parts: Parts,
    *,
    model: str = "SmolLM2-135M-Instruct",
    style: Style = "extract",
    context: Annotated[int, Field(ge=256)] = 2048,
    slots: Count = 4,
    threads: Count | None = None,
    max_waiting: Annotated[int, Field(ge=0)] = 256,
) -> LlamaCpp:
    """``model`` is a catalogue id, a hub id, a folder or a .gguf file.

    ``context`` is the tokens that each of the ``slots`` concurrent requests has room for. ``threads`` defaults to
    half of what the service may use: llama.cpp's threads wait for each other at each layer by spinning, so
    they all but stand still where another thread takes one of their cores. ``style`` "passages" suits models
    that can follow instructions. Raises SettingsError for a model that cannot be had or read.
    """
    file = weights(parts.model(model))
    count = threads or max(1, parts.threads // 2)
    params = parameters(file, context * slots, slots, count)
    server = start(params)
    name = file.parent.name if model == str(file) else Path(model).name
    made = LlamaCpp(server, name, style, context, Slots(slots, max_waiting, name), parts.timeout_s)
    made.tokenizer = Tokenizer(server.listening_address, params.api_keys[0])
    return made


def weights(place: Path) -> Path:
    """The .gguf file in a folder, or the file itself."""
    files = [place] if place.is_file() else sorted(place.glob("*.gguf"))
    if len(files) != 1:
        raise SettingsError(f"{place} has {len(files)} .gguf files; name the one to load.")
    return files[0]


def parameters(file: Path, context: int, slots: int, threads: int) -> Any:
    """What the engine is started with; the memory for ``context`` tokens is taken at once, and no more later."""
    params = xllamacpp.CommonParams()
    params.model.path = str(file)
    params.n_ctx = context
    params.n_parallel = slots
    params.n_batch = params.n_ubatch = BATCH_TOKENS
    params.cpuparams.n_threads = params.cpuparams_batch.n_threads = threads
    params.cache_ram_mib = 0  # each slot keeps the prefix of its last prompt; more would grow by gigabytes
    params.hostnames = ["127.0.0.1"]
    params.port = 0
    params.api_keys = [secrets.token_hex()]
    params.ui = params.endpoint_slots = False
    params.verbosity = -1
    return params


def start(params: Any) -> Any:
    """The engine. It opens a port on loopback as soon as it is made; a key that nobody knows shuts it."""
    try:
        server = xllamacpp.Server(params)
    except RuntimeError as error:
        raise SettingsError(f"llama.cpp cannot load {params.model.path}: {error}") from error
    # Its loop starts in a thread of its own, and waits for ever if it is told to end before it began: one token
    # shows that it runs.
    server.handle_completions({"prompt": "A", "max_tokens": 1})
    return server


class LlamaCpp:
    """Each request runs in a thread of its own that waits on llama.cpp, never in the event loop."""

    def __init__(self, server: Any, name: str, style: Style, context: int, slots: Slots, timeout_s: float) -> None:
        self.server: Any = server
        self.name = name
        self.style: Style = style
        self.context_tokens = context
        self.slots = slots
        self.timeout_s = timeout_s
        self.threads = ThreadPoolExecutor(slots.count, thread_name_prefix="llamacpp")
        self.running: set[Request] = set()
        self.closing = False
        self.tokenizer: Tokenizer | None = None

    async def generate(
        self, prompt: Prompt, *, max_tokens: int, temperature: float
    ) -> AsyncGenerator[Piece, None]:
        """The text as it is written; see ``LLM.generate``. A copied sentence is given whole once it is clear."""
        await self.check()
        copying = Copying(prompt) if self.style == "extract" and prompt.task == "answer" else None
        body = request_body(prompt, max_tokens, temperature, one_line=copying is not None)
        await self.slots.take()
        if self.closing:  # meanwhile; who waits behind this one is told the same
            self.slots.give_back()
            await self.check()
        request = Request(self.server, body)
        self.running.add(request)
        done = asyncio.get_running_loop().run_in_executor(self.threads, request.run)
        done.add_done_callback(lambda _: self.finished(request))
        try:
            async for piece in within(request.pieces(), self.timeout_s):
                if not copying:
                    yield piece
                elif (chosen := copying.chosen(piece.text)) or piece.usage:
                    written = Usage(request.prompt_tokens, request.written)
                    yield Piece(chosen or copying.text, piece.usage or written, piece.finish or "stop")
                    return
        finally:
            request.stopped.set()

    def finished(self, request: Request) -> None:
        """The thread of a request has come back."""
        self.running.discard(request)
        self.slots.give_back()

    async def count_tokens(self, texts: Sequence[str]) -> list[int]:
        """The tokens of each text, as the model makes them; raises Unavailable."""
        await self.check()
        if self.tokenizer is None:
            raise Unavailable(f"{self.name} has no tokenizer to ask.")
        return await self.tokenizer.count(texts)

    async def check(self) -> None:
        """Raise Unavailable once it is closed."""
        if self.closing:
            raise Unavailable(f"{self.name} is closed.")

    async def close(self) -> None:
        """Stop what runs and what waits, wait for its threads and free the model."""
        self.closing = True
        for request in self.running:
            request.stopped.set()
        await asyncio.to_thread(self.threads.shutdown)
        if self.tokenizer:
            await self.tokenizer.close()
        self.server = None


class Request:
    """One request to llama.cpp: a thread that runs it and a queue of what it writes."""

    def __init__(self, server: Any, body: dict[str, Any]) -> None:
        self.server = server
        self.body = body
        self.loop = asyncio.get_running_loop()
        self.chunks: asyncio.Queue[dict[str, Any] | None] = asyncio.Queue()  # bounded by max_tokens
        self.stopped = threading.Event()
        self.prompt_tokens = 0
        self.written = 0

    def run(self) -> None:
        """In the thread: blocks until the text is written or stopped."""
        if not self.stopped.is_set():
            self.server.handle_chat_completions(self.body, self.took)
        self.put(None)

    def took(self, chunk: dict[str, Any]) -> bool:
        """In the thread: pass a chunk on; True ends the work."""
        if not self.stopped.is_set():
            self.put(chunk)
        return self.stopped.is_set()

    def put(self, chunk: dict[str, Any] | None) -> None:
        """Hand a chunk to the event loop, unless the loop is gone with everyone who waits."""
        if not self.loop.is_closed():
            self.loop.call_soon_threadsafe(self.chunks.put_nowait, chunk)

    async def pieces(self) -> AsyncGenerator[Piece, None]:
        """What the chunks hold; raises what llama.cpp reports."""
        finish: Finish = "stop"
        while (chunk := await self.chunks.get()) is not None:
            if "error" in chunk:
                raise reported(chunk["error"])
            self.prompt_tokens = chunk.get("prompt_progress", {}).get("total", self.prompt_tokens)
            for choice in chunk["choices"]:
                if text := choice["delta"].get("content"):
                    self.written += 1
                    yield Piece(text)
                if choice.get("finish_reason") == "length":
                    finish = "length"
            if usage := chunk.get("usage"):
                yield Piece("", Usage(usage["prompt_tokens"], usage["completion_tokens"]), finish)


class Copying:
    """Watches a model copy one of the sentences that it was shown."""

    def __init__(self, prompt: Prompt) -> None:
        self.sentences = [(words(each.text), each.text) for each in prompt.sentences]
        self.text = ""

    def chosen(self, piece: str) -> str:
        """Once only one sentence begins like the text so far: that sentence; empty until then."""
        self.text += piece
        so_far = words(self.text)[:-1]  # the last word may still grow
        if so_far and so_far[0].isdigit() and not any(each[:1] == so_far[:1] for each, _ in self.sentences):
            so_far = so_far[1:]  # the number that the prompt gave the sentence
        if len(so_far) < CHOSEN_WORDS:
            return ""
        matching = [text for each, text in self.sentences if each[: len(so_far)] == so_far]
        return " ".join(matching[0].split()) if len(matching) == 1 else ""


def request_body(prompt: Prompt, max_tokens: int, temperature: float, *, one_line: bool) -> dict[str, Any]:
    """The request in the OpenAI dialect."""
    body: dict[str, Any] = {
        "messages": prompt.messages,
        "max_tokens": max_tokens,
        "temperature": temperature,
        "cache_prompt": True,
        "stream": True,
        "stream_options": {"include_usage": True},
        "return_progress": True,  # calls back during prefill too, so that it can be cancelled there
    }
    return body | prompt.response_format | ({"stop": ["\n"]} if one_line else {})


def reported(error: dict[str, Any]) -> RaglineError:
    """An error of llama.cpp's as a row of the table."""
    if error.get("type") == "exceed_context_size_error":
        return TooLarge(
            f"The prompt has {error['n_prompt_tokens']} tokens, over the {error['n_ctx']} of the LLM's option "
            "context."
        )
    if error.get("code") == 400:
        return InvalidRequest(f"The LLM refuses the request: {error.get('message', '')}.")
    log.error("llama.cpp failed", reason=error.get("message", ""))
    return Internal()
