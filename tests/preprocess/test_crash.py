"""kill -9 in the middle of ingesting: after the restart everything acknowledged is there, once and whole."""

from __future__ import annotations

import asyncio
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.preprocess.world import retriever
from tests.suite import free_ports

START_S = 60
KILLS = 3
DOCUMENTS = 8


def start(folder: Path, address: str, port: int, grpc_port: int) -> subprocess.Popen[bytes]:
    """Preprocess as a process of its own."""
    environment = {
        **os.environ,
        "RAGLINE_DATA_DIR": str(folder),
        "PREPROCESS_PORT": str(port),
        "PREPROCESS_GRPC_PORT": str(grpc_port),
        "PREPROCESS_RETRIEVER_ADDRESS": address,
        "PREPROCESS_EMBEDDER": "hashing",
        "PREPROCESS_ORPHAN_AGE_S": "2",
        "PREPROCESS_HOLD_S": "1",
    }
    with (folder / "log").open("ab") as log:
        return subprocess.Popen(
            [sys.executable, "-m", "services.preprocess"], env=environment, stdout=log, stderr=log
        )


async def ready(client: httpx.AsyncClient) -> None:
    """Return once the process answers that it is ready."""
    async with asyncio.timeout(START_S):
        while True:
            try:
                if (await client.get("/readyz")).status_code == 200:
                    return
            except httpx.TransportError:
                pass
            await asyncio.sleep(0.05)


async def send_until_killed(
    client: httpx.AsyncClient, dice: random.Random, versions: dict[str, set[int]]
) -> list[str]:
    """Send documents one after the other until the process is gone; returns the acknowledged jobs.

    ``versions`` gets what each document may hold: the last acknowledged text, and those sent after it in vain.
    """
    jobs: list[str] = []
    while True:
        name, version = f"d{dice.randrange(DOCUMENTS)}", dice.randrange(10**9)
        text = f"Version {version}. " + "The harbour opens at nine. " * 200 + f"End of {version}."
        try:
            answer = await client.post("/documents", json={"documents": [{"id": name, "text": text}]})
        except httpx.TransportError:
            if name in versions:
                versions[name].add(version)  # in or out, both are right
            return jobs
        assert answer.status_code == 202
        versions[name] = {version}
        jobs.append(answer.json()["job_id"])


async def ended(client: httpx.AsyncClient, job_id: str) -> dict[str, Any]:
    """The job after its last event."""
    await client.get(f"/jobs/{job_id}/events", timeout=60)
    body: dict[str, Any] = (await client.get(f"/jobs/{job_id}")).json()
    return body


def wait_until_swept(blobs: Path, documents: int) -> None:
    """Return once the bytes of each document are there and no others."""
    deadline = time.monotonic() + START_S
    while sum(path.is_file() for path in blobs.rglob("*")) != documents:
        assert time.monotonic() < deadline, "bytes that no document needs were not removed"
        time.sleep(0.2)


@pytest.mark.stack
async def test_nothing_acknowledged_is_lost_or_done_twice(tmp_path: Path) -> None:
    dice = random.Random(7)
    port, grpc_port = free_ports(2)
    versions: dict[str, set[int]] = {}
    jobs: list[str] = []
    folder = tmp_path / "p"
    folder.mkdir()
    async with (
        retriever(tmp_path / "r") as address,
        httpx.AsyncClient(base_url=f"http://127.0.0.1:{port}") as client,
    ):
        for _ in range(KILLS):
            process = start(folder, address, port, grpc_port)
            await ready(client)
            asyncio.get_running_loop().call_later(dice.uniform(0.1, 1.0), process.send_signal, signal.SIGKILL)
            jobs += await send_until_killed(client, dice, versions)
            process.wait()
        process = start(folder, address, port, grpc_port)
        try:
            await ready(client)
            for job_id in jobs:
                job = await ended(client, job_id)
                assert (job["state"], job["done"], job["total"], job["errors"]) == ("done", 1, 1, [])
            for name, allowed in versions.items():
                body = (await client.get(f"/documents/{name}")).json()
                found = {int(body["text"].split()[1][:-1]), int(body["text"].split()[-1][:-1])}
                assert len(found) == 1
                assert found <= allowed
            count = len((await client.get("/documents")).json()["documents"])
            await asyncio.to_thread(wait_until_swept, folder / "blobs", count)
        finally:
            process.terminate()
            assert process.wait(30) == 0
