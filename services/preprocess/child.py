"""A child of the sandbox: cuts one file after another until its parent hangs up."""

from __future__ import annotations

import ctypes
import os
import resource
import signal
import sys
import traceback
from pathlib import Path
from typing import Any, BinaryIO

import orjson

from ragline.errors import InvalidRequest, RaglineError
from ragline.settings import SettingsError
from services.preprocess import frames
from services.preprocess.cut import CutOptions, Cutter

NICENESS = 10
PR_SET_PDEATHSIG = 1
MB = 1 << 20


def main() -> None:
    """Say hello, then serve frames from standard input on what was standard output."""
    replies = own_stdout()
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the parent, which ends its children itself
    if sys.platform == "linux":  # elsewhere the end of standard input has to do
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
    os.nice(NICENESS)  # documents wait for queries, not the other way round
    os.putenv("TOKENIZERS_PARALLELISM", "false")  # one core a child; its threads would take the queries' cores
    hello = frames.read(sys.stdin.buffer)
    if hello is None:
        return
    try:
        cutter, timeout_s = prepare(orjson.loads(hello))
    except SettingsError as error:
        send(replies, frames.pack(str(error).encode()))
        return
    send(replies, frames.pack(b""))
    while (content := frames.read(sys.stdin.buffer)) is not None:
        limit_time(timeout_s)
        send(replies, answer(cutter, *frames.unpack_request(content)))


def send(replies: BinaryIO, frame: bytes) -> None:
    """Write one frame, whole."""
    replies.write(frame)
    replies.flush()


def own_stdout() -> BinaryIO:
    """The pipe to the parent, taken from libraries that print: what they write goes to standard error."""
    pipe = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)
    return pipe


def prepare(hello: dict[str, Any]) -> tuple[Cutter, float]:
    """The cutter that the parent asks for, and the seconds that a file may take. Raises SettingsError."""
    options = hello["options"]
    file = options.pop("tokenizer_file")
    cutter = Cutter(CutOptions(tokenizer_file=Path(file) if file else None, **options))
    limit = hello["memory_mb"] * MB
    resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    return cutter, hello["timeout_s"]


def limit_time(timeout_s: float) -> None:
    """Let the next file use ``timeout_s`` of processor time; the limit counts from the process's start."""
    used = resource.getrusage(resource.RUSAGE_SELF)
    soft = int(used.ru_utime + used.ru_stime + timeout_s) + 1
    resource.setrlimit(resource.RLIMIT_CPU, (soft, resource.RLIM_INFINITY))


def answer(cutter: Cutter, request: frames.Request, data: bytes) -> bytes:
    """The frame that answers one file."""
    try:
        documents = cutter.cut(
            data, name=request.name, media_type=request.media_type, title=request.title, kind=request.kind
        )
        return frames.pack_documents(documents)
    except RaglineError as error:
        return frames.pack_error(error)
    except MemoryError:
        return frames.pack_error(
            InvalidRequest("Reading it takes more memory than PREPROCESS_PARSE_MEMORY_MB allows.")
        )
    except RecursionError:
        return frames.pack_error(InvalidRequest("It is nested too deeply to be read."))
    except Exception:  # noqa: BLE001 - the outermost boundary: a parser's fault is this file's failure alone
        return frames.pack_crash(traceback.format_exc())


if __name__ == "__main__":
    main()
