"""The containers of a running stack, through `docker compose` in the current folder."""

from __future__ import annotations

import json
import re
import subprocess
import time
from collections.abc import Iterable
from dataclasses import dataclass

from tests.deploy.door import Wrong

SAMPLE = re.compile(r"^(\w+)(\{[^}]*\})? ([-+.\deE]+)$", re.MULTILINE)


@dataclass(frozen=True)
class Replica:
    """One container of a service."""

    service: str
    id: str
    name: str

    def metric(self, name: str, *labels: str) -> float:
        """The sum of a metric's samples that carry all of ``labels``, such as ``route="/embed"``."""
        page = run("docker", "exec", self.id, "python", "-IS", "/app/bin/probe.py", "/metrics")
        return sum(
            float(value)
            for found, held, value in SAMPLE.findall(page)
            if found == name and all(label in held for label in labels)
        )


def run(*command: str) -> str:
    """What a command printed; raises Wrong with its complaint where it fails."""
    ended = subprocess.run(command, capture_output=True, text=True, check=False)
    if ended.returncode:
        raise Wrong(f"{' '.join(command)}: {ended.stderr[-500:]}")
    return ended.stdout


def replicas(service: str) -> list[Replica]:
    """The running containers of a service, by name."""
    lines = run("docker", "compose", "ps", "--format", "json", service).splitlines()
    rows = [json.loads(line) for line in lines]
    return sorted((Replica(service, row["ID"], row["Name"]) for row in rows), key=lambda each: each.name)


def scale(service: str, count: int) -> None:
    """Run so many replicas of a service, and touch no other container."""
    run("docker", "compose", "up", "-d", "--no-deps", "--no-recreate", "--scale", f"{service}={count}", service)


def wait_healthy(found: Iterable[Replica], timeout_s: float = 60) -> None:
    """Wait until Docker takes each for healthy; raises Wrong where it does not come to that."""
    deadline = time.monotonic() + timeout_s
    for replica in found:
        while run("docker", "inspect", "-f", "{{.State.Health.Status}}", replica.id).strip() != "healthy":
            if time.monotonic() > deadline:
                raise Wrong(f"{replica.name} is not healthy after {timeout_s:g} s")
            time.sleep(0.1)
