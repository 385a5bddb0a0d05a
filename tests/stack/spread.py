"""The suite as it runs in Compose and Kubernetes: processes, replicas and workers over RabbitMQ and Redis."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import httpx

from tests.servers.rabbitmq import RabbitmqServer
from tests.servers.redis import RedisServer
from tests.stack.process import ServiceProcess
from tests.suite import free_ports

# Which replicas of what a test runs; a name that ends in -worker is the same service in the role of a worker.
ONE_OF_EACH = {
    "retriever": 1,
    "preprocess": 1,
    "preprocess-worker": 1,
    "reranker": 1,
    "generator": 1,
    "generator-worker": 1,
}
ENDED = {"done", "failed", "cancelled"}
LIMIT_S = 120.0


class Spread:
    """Processes ``preprocess-1``, ``preprocess-2`` and so on, their servers and their files, all in ``folder``.

    A context manager. ``replicas`` says how many of each there are, ``more`` are variables for all of them. Where
    RabbitMQ is not up, the workers are started and not waited for.
    Clients of a test go to the doors themselves, in turn, as NGINX would.
    """

    def __init__(
        self,
        folder: Path,
        replicas: Mapping[str, int] | None = None,
        more: Mapping[str, str] | None = None,
        *,
        rabbitmq_is_up: bool = True,
    ) -> None:
        self.folder = folder
        self.replicas = {**ONE_OF_EACH, **(replicas or {})}
        self.rabbitmq_is_up = rabbitmq_is_up
        self.rabbitmq = RabbitmqServer(folder / "rabbitmq")
        self.redis = RedisServer(folder / "redis")
        self.ports = {name: free_ports(2) for name in self.names()}
        environment = {**os.environ, **self.shared(), **(more or {})}
        self.processes = {
            name: ServiceProcess(name, service_of(name), folder, self.ports[name][0], environment | self.own(name))
            for name in self.names()
        }

    def names(self) -> list[str]:
        """The names of all processes."""
        return [f"{kind}-{n + 1}" for kind, count in self.replicas.items() for n in range(count)]

    def shared(self) -> dict[str, str]:
        """What holds for all processes: the URLs that Compose and Kubernetes set, and who is where."""
        blobs, redis = f"file://{self.folder}/shared", self.redis.url
        return {
            "GRPC_VERBOSITY": "ERROR",
            "RAGLINE_BROKER_URL": f"{self.rabbitmq.url}?retry_s=0.1&max_retry_s=2",
            "RAGLINE_CONNECTION_AGE_S": "2",
            "PREPROCESS_JOBS_URL": f"{redis}/0",
            "PREPROCESS_CACHE_URL": f"{redis}/0",
            "PREPROCESS_BLOB_URL": f"{blobs}/documents",
            "RETRIEVER_CACHE_URL": f"{redis}/0",
            "RERANKER_CACHE_URL": f"{redis}/0",
            "RERANKER_SCORES_URL": f"{redis}/0",
            "GENERATOR_CACHE_URL": f"{redis}/0",
            "GENERATOR_BATCH_URL": f"{blobs}/batches",
            "GENERATOR_RETRIEVER_URL": f"http://127.0.0.1:{self.ports['retriever-1'][0]}",
            "GENERATOR_PREPROCESS_URL": f"http://127.0.0.1:{self.ports['preprocess-1'][0]}",
            "PREPROCESS_RETRIEVER_ADDRESS": self.address("retriever"),
            "RETRIEVER_PREPROCESS_ADDRESS": self.address("preprocess"),
            "RETRIEVER_RERANKER_ADDRESS": self.address("reranker"),
            "GENERATOR_RETRIEVER_ADDRESS": self.address("retriever"),
            "GENERATOR_RERANKER_ADDRESS": self.address("reranker"),
        }

    def own(self, name: str) -> dict[str, str]:
        """What holds for one process."""
        prefix, (rest, grpc) = service_of(name).upper(), self.ports[name]
        own = {
            f"{prefix}_PORT": str(rest),
            f"{prefix}_GRPC_PORT": str(grpc),
            "RAGLINE_DATA_DIR": str(self.folder / "data" / name),
        }
        if service_of(name) in {"preprocess", "generator"}:
            own[f"{prefix}_ROLE"] = "worker" if "-worker-" in name else "door"
        return own

    def address(self, kind: str) -> str:
        """All replicas of a kind, as their headless name would give them."""
        hosts = [f"127.0.0.1:{self.ports[name][1]}" for name in self.names() if kind_of(name) == kind]
        return f"ipv4:{','.join(hosts)}"

    def __enter__(self) -> Spread:
        self.folder.mkdir(parents=True, exist_ok=True)
        try:
            self.start()
        except BaseException:
            self.__exit__()
            raise
        return self

    def start(self) -> None:
        """Start everything and wait until it is ready."""
        self.redis.start()
        if self.rabbitmq_is_up:
            self.rabbitmq.launch()
        for process in self.processes.values():
            process.start()
        for name, process in self.processes.items():
            if self.rabbitmq_is_up or "-worker-" not in name:
                process.wait_for(200)

    def __exit__(self, *_: object) -> None:
        for process in self.processes.values():
            process.kill()
        self.rabbitmq.kill()
        self.redis.kill()

    def of(self, kind: str) -> list[ServiceProcess]:
        """The replicas of a kind."""
        return [process for name, process in self.processes.items() if kind_of(name) == kind]

    def client(self, kind: str, n: int = 0, timeout_s: float = 60.0) -> httpx.Client:
        """An HTTP client of the ``n``-th replica of a kind."""
        return httpx.Client(base_url=self.of(kind)[n].url, timeout=timeout_s)

    def put(self, documents: list[dict[str, Any]], collection: str = "default") -> dict[str, Any]:
        """Send documents and wait until they can be found; returns the job."""
        with self.client("preprocess") as client:
            answer = client.post("/documents", json={"collection": collection, "documents": documents})
            answer.raise_for_status()
            return self.job(answer.json()["job_id"])

    def job(self, job_id: str, limit_s: float = LIMIT_S) -> dict[str, Any]:
        """A job once it has ended; raises TimeoutError."""
        last: object = None
        deadline = time.monotonic() + limit_s
        with self.client("preprocess") as client:
            while time.monotonic() < deadline:
                answer = client.get(f"/jobs/{job_id}")
                last = answer.text
                if answer.status_code == 200 and answer.json()["state"] in ENDED:
                    job: dict[str, Any] = answer.json()
                    return job
                time.sleep(0.1)
        raise TimeoutError(f"{job_id} did not end: {last}\n{self.tail()}")

    def documents(self, collection: str = "default") -> Iterator[dict[str, Any]]:
        """What the record holds, by id."""
        after: str | None = ""
        with self.client("preprocess") as client:
            while after is not None:
                page = client.get(
                    "/documents", params={"collection": collection, "limit": 1000, "after": after}
                ).json()
                yield from page["documents"]
                after = page["next"]

    def tail(self) -> str:
        """The end of each log, for a test that failed."""
        return "\n".join(f"--- {name}\n{process.log[-1500:]}" for name, process in self.processes.items())


def kind_of(name: str) -> str:
    """``preprocess-worker`` of ``preprocess-worker-2``."""
    return name.rpartition("-")[0]


def service_of(name: str) -> str:
    """``preprocess`` of ``preprocess-worker-2``."""
    return name.partition("-")[0]
