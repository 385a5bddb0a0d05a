"""What the sandbox and its children say to each other: frames of a length and JSON, for a pickle can run code."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, BinaryIO

import orjson

from ragline.errors import TABLE, Internal, RaglineError
from services.preprocess.cut import CutDocument, Kind, Piece, Rejected

LENGTH = 8
ERRORS = {kind.__name__: kind for kind in TABLE}


class Crashed(RuntimeError):
    """A parser failed on a file as it should not; the argument is its trace."""


@dataclass(frozen=True)
class Request:
    """What is known of a file beside its bytes."""

    name: str
    media_type: str | None
    title: str | None
    kind: Kind | None


def pack(content: bytes) -> bytes:
    """One frame."""
    return len(content).to_bytes(LENGTH, "big") + content


def read(stream: BinaryIO) -> bytes | None:
    """The next frame's content; None at the end of the stream."""
    head = stream.read(LENGTH)
    return stream.read(int.from_bytes(head, "big")) if len(head) == LENGTH else None


def pack_hello(options: Mapping[str, Any], memory_mb: int, timeout_s: float) -> bytes:
    """The first frame: how to cut, and within what."""
    return pack(orjson.dumps({"options": options, "memory_mb": memory_mb, "timeout_s": timeout_s}))


def pack_request(request: Request, data: bytes) -> bytes:
    """A file to cut: its description, a newline, its bytes."""
    return pack(orjson.dumps(asdict(request)) + b"\n" + data)


def unpack_request(content: bytes) -> tuple[Request, bytes]:
    """What ``pack_request`` packed."""
    head, _, data = content.partition(b"\n")
    return Request(**orjson.loads(head)), data


def pack_documents(documents: list[CutDocument | Rejected]) -> bytes:
    """The answer to a file that could be read."""
    rows = [{"rejected" if isinstance(each, Rejected) else "document": each} for each in documents]
    return pack(orjson.dumps({"documents": rows}))


def pack_error(error: RaglineError) -> bytes:
    """The answer to a file that could not."""
    body = {"error": type(error).__name__, "detail": error.detail, "errors": [dict(each) for each in error.errors]}
    return pack(orjson.dumps(body))


def pack_crash(trace: str) -> bytes:
    """The answer to a file on which a parser failed as it should not."""
    return pack(orjson.dumps({"crash": trace}))


def unpack_reply(content: bytes) -> list[CutDocument | Rejected]:
    """The documents of an answer; raises the error that it holds, or Crashed."""
    reply = orjson.loads(content)
    if "crash" in reply:
        raise Crashed(reply["crash"])
    if "error" in reply:
        error = ERRORS.get(reply["error"], Internal)(reply["detail"])
        error.errors = tuple(reply["errors"])
        raise error
    return [unpacked(row) for row in reply["documents"]]


def unpacked(row: Mapping[str, Any]) -> CutDocument | Rejected:
    """One document, or why there is none."""
    if "rejected" in row:
        return Rejected(**row["rejected"])
    document = row["document"]
    return CutDocument(**{**document, "passages": [Piece(**piece) for piece in document["passages"]]})
