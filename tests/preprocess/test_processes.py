"""A door and two workers over RabbitMQ and Redis, workers killed (-9) at random: nothing is lost or doubled."""

from __future__ import annotations

import asyncio
import os
import random
import uuid
from collections.abc import Iterator
from pathlib import Path

import httpx
import orjson
import pytest

from tests.preprocess.test_crash import ended, ready, wait_until_swept
from tests.preprocess.world import retriever
from tests.servers.rabbitmq import RabbitmqServer
from tests.servers.redis import RedisServer
from tests.stack.process import ServiceProcess
from tests.suite import free_ports

pytestmark = [pytest.mark.stack]

KILLS = 3
JOBS = 12
IDS = 20


@pytest.fixture
def shared(tmp_path: Path, rabbitmq_server: RabbitmqServer, redis_server: RedisServer) -> dict[str, str]:
    """What the processes share."""
    name = uuid.uuid4().hex[:8]
    return {
        **os.environ,
        "RAGLINE_BROKER_URL": f"{rabbitmq_server.url}?prefix={name}-&retry_s=0.1&max_retry_s=1",
        "PREPROCESS_JOBS_URL": f"{redis_server.url}?prefix={name}:&timeout_s=5",
        "PREPROCESS_BLOB_URL": f"file://{tmp_path}/blobs",
        "PREPROCESS_EMBEDDER": "hashing",
        "PREPROCESS_ORPHAN_AGE_S": "2",
        "PREPROCESS_HOLD_S": "1",
    }


@pytest.fixture
def processes(tmp_path: Path, shared: dict[str, str]) -> Iterator[dict[str, ServiceProcess]]:
    """A door and two workers, not started."""
    made = {}
    for name in ("door", "worker-1", "worker-2"):
        rest, grpc = free_ports(2)
        own = {
            "PREPROCESS_ROLE": name.partition("-")[0],
            "PREPROCESS_PORT": str(rest),
            "PREPROCESS_GRPC_PORT": str(grpc),
            "RAGLINE_DATA_DIR": str(tmp_path / name),
        }
        made[name] = ServiceProcess(name, "preprocess", tmp_path, rest, shared | own)
    yield made
    for process in made.values():
        process.kill()


def body(dice: random.Random, versions: dict[str, int]) -> list[dict[str, str]]:
    """Documents to send; ``versions`` gets the newest of each."""
    documents = []
    for name in dice.sample([f"d{n}" for n in range(IDS)], 5):
        versions[name] = dice.randrange(10**9)
        text = f"Version {versions[name]}. " + "The harbour opens at nine. " * 200 + f"End of {versions[name]}."
        documents.append({"id": name, "text": text})
    return documents


@pytest.mark.timeout(180)
async def test_workers_are_killed_and_nothing_is_lost_or_doubled(
    tmp_path: Path, processes: dict[str, ServiceProcess]
) -> None:
    dice, versions, jobs = random.Random(11), dict[str, int](), list[str]()
    lines = b"\n".join(orjson.dumps({"id": f"line{n}", "text": f"Line number {n}."}) for n in range(200))
    async with (
        retriever(tmp_path / "r") as address,
        httpx.AsyncClient(base_url=processes["door"].url, timeout=60) as client,
    ):
        for process in processes.values():
            process.environment["PREPROCESS_RETRIEVER_ADDRESS"] = address
            process.start()
        await ready(client)
        answer = await client.post("/documents", files=[("files", ("list.jsonl", lines))])
        jobs.append(answer.json()["job_id"])
        for n in range(JOBS):
            answer = await client.post("/documents", json={"documents": body(dice, versions)})
            assert answer.status_code == 202, answer.text
            jobs.append(answer.json()["job_id"])
            if n % (JOBS // KILLS) == 1:
                victim = processes[f"worker-{dice.randrange(1, 3)}"]
                await asyncio.sleep(dice.uniform(0.2, 2.0))
                victim.kill()
                victim.start()
        for job_id in jobs:
            job = await ended(client, job_id)
            assert (job["state"], job["done"], job["errors"]) == ("done", job["total"], [])
            assert "restored" not in job
        found = (await client.get("/documents", params={"limit": 1000})).json()["documents"]
        assert {each["id"] for each in found} == {*versions, *(f"line{n}" for n in range(200))}
        for name, version in versions.items():
            text = (await client.get(f"/documents/{name}")).json()["text"]
            assert (text.split()[1], text.split()[-1]) == (f"{version}.", f"{version}.")
        await asyncio.to_thread(wait_until_swept, tmp_path / "blobs", len(versions))
        for process in processes.values():
            assert process.stop() == 0
