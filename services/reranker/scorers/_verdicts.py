"""Keeps which runtime was chosen for a model on this machine, in a small file of the data folder."""

from __future__ import annotations

import contextlib
import hashlib
import os
import tempfile
from dataclasses import asdict, dataclass
from pathlib import Path

import orjson
import structlog
from pydantic import TypeAdapter, ValidationError

from ragline.encoder.runtimes import Name, installed, processor

FILE = "runtimes.json"
MOST = 64  # verdicts kept; the oldest goes first
VERSION = 1  # raise this when the trial changes
LIBRARIES = ("onnxruntime", "openvino")

log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Trial:
    """How a runtime did: ``ratio`` times as fast as the reference; ``fault`` is empty where it agreed."""

    runtime: Name
    ratio: float
    difference: float
    fault: str = ""


@dataclass(frozen=True, slots=True)
class Verdict:
    """The runtime chosen, how many times as fast it was, and by how much a chance differed at most."""

    runtime: Name
    ratio: float
    difference: float


ADAPTER = TypeAdapter(dict[str, Verdict])


class Verdicts:
    """The verdicts on one model: by its content, the CPU, its threads and the libraries' versions."""

    def __init__(self, folder: Path | None, model: str, threads: int) -> None:
        self.file = folder / FILE if folder is not None else None
        facts = [VERSION, model, processor(), threads, *(installed(library) for library in LIBRARIES)]
        self.model = hashlib.sha256(orjson.dumps(facts)).hexdigest()[:32]

    def get(self, asked: str) -> Verdict | None:
        """The verdict kept; None where there is none, or the file is damaged."""
        return self.read().get(self.key(asked))

    def keep(self, asked: str, verdict: Verdict) -> None:
        """Write a verdict down; a folder that takes none only means another trial at the next start."""
        if self.file is None:
            return
        kept = {key: value for key, value in self.read().items() if key != self.key(asked)}
        newest = dict([*kept.items(), (self.key(asked), verdict)][-MOST:])
        content = orjson.dumps({key: asdict(value) for key, value in newest.items()}, option=orjson.OPT_INDENT_2)
        try:
            self.file.parent.mkdir(parents=True, exist_ok=True)
            replace(self.file, content)
        except OSError as error:
            log.warning("runtime verdict not kept", file=str(self.file), error=str(error))

    def key(self, asked: str) -> str:
        """The verdict's name in the file."""
        return f"{self.model} {asked}"

    def read(self) -> dict[str, Verdict]:
        """All that the file holds."""
        if self.file is None:
            return {}
        try:
            return ADAPTER.validate_json(self.file.read_bytes())
        except (OSError, ValidationError):
            return {}


def replace(file: Path, content: bytes) -> None:
    """Put the content in the file's place at once, so that two services that start together never mix theirs."""
    handle, name = tempfile.mkstemp(dir=file.parent, prefix=f".{file.name}.")
    try:
        with os.fdopen(handle, "wb") as stream:
            stream.write(content)
        Path(name).replace(file)
    except OSError:
        with contextlib.suppress(OSError):
            Path(name).unlink()
        raise
