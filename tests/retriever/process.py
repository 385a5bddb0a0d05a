"""A retriever as a process of its own, what writes to it, and the command line that looks after it."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

from ragline.grpc_client import channel
from ragline.v1 import retriever_pb2_grpc
from tests.stack.process import ServiceProcess
from tests.suite import free_ports

RAGLINE = str(Path(sys.executable).parent / "ragline")


class Retriever(ServiceProcess):
    """``python -m services.retriever`` on ports of its own over ``folder``."""

    def __init__(self, name: str, folder: Path, **environment: str) -> None:
        port, grpc = free_ports(2)
        self.folder = folder / "data" / "retriever"
        self.address = f"127.0.0.1:{grpc}"
        made = {
            **os.environ,
            "RETRIEVER_DATA_DIR": str(folder / "data"),
            "RETRIEVER_PORT": str(port),
            "RETRIEVER_GRPC_PORT": str(grpc),
            **environment,
        }
        super().__init__(name, "retriever", folder, port, made)


@pytest.fixture
def pair(tmp_path: Path) -> Iterator[tuple[Retriever, Retriever]]:
    """Two that run, each over a folder of its own."""
    made = [Retriever(name, tmp_path / name) for name in ("one", "two")]
    for each in made:
        each.folder.parent.mkdir(parents=True)
        each.start()
    for each in made:
        each.wait_for(200)
    yield made[0], made[1]
    for each in made:
        each.kill()


@asynccontextmanager
async def stub(retriever: Retriever) -> AsyncIterator[retriever_pb2_grpc.RetrieverAsyncStub]:
    """Its gRPC door."""
    async with channel(retriever.address, max_message_mb=16) as opened:
        yield retriever_pb2_grpc.RetrieverStub(opened)


@dataclass(frozen=True)
class Said:
    """What one run of the command line said."""

    status: int
    out: str
    err: str


def ragline(*arguments: str | Path, cwd: Path | None = None) -> Said:
    """Run the command line to its end; whatever happened, nobody gets to see a traceback."""
    ended = subprocess.run(
        [RAGLINE, *map(str, arguments)],
        cwd=cwd,
        env={**os.environ, "COLUMNS": "200"},
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )
    assert "Traceback" not in ended.stdout + ended.stderr
    return Said(ended.returncode, ended.stdout, ended.stderr)
