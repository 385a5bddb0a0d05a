"""deploy/k8s as kustomize renders it, and how its documents hang together."""

from __future__ import annotations

import base64
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.servers.fixtures import REQUIRED

ROOT = Path(__file__).parents[2]
FOLDER = ROOT / "deploy" / "k8s"
OVERLAYS = ("dev", "prod")
WORKLOADS = ("Deployment", "StatefulSet")
SERVICES = ("preprocess", "retriever", "reranker", "generator")
WORKERS = ("preprocess-worker", "generator-worker")
OWN = ("nginx", *SERVICES, *WORKERS)
KEDA = "keda.sh/v1alpha1"  # its own kinds, which the validator does not know
MISSING = "neither kustomize nor kubectl is installed; run `make servers`"

Document = dict[str, Any]


def command() -> list[str]:
    """What renders an overlay: kustomize, or the one inside kubectl; nothing where neither is there."""
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ.get('PATH', '')}"
    if found := shutil.which("kustomize", path=path):
        return [found, "build"]
    if found := shutil.which("kubectl", path=path):
        return [found, "kustomize"]
    return []


@cache
def rendered(folder: str) -> tuple[Document, ...]:
    """The documents of a folder below deploy/k8s; without kustomize skips, or fails where servers are required."""
    program = command()
    if not program:
        if os.environ.get(REQUIRED) == "1":
            pytest.fail(MISSING)
        pytest.skip(MISSING)
    ended = subprocess.run([*program, str(FOLDER / folder)], capture_output=True, text=True, check=False)
    assert ended.returncode == 0, ended.stderr
    assert not ended.stderr, ended.stderr  # it warns of what it will not do one day
    return tuple(yaml.safe_load_all(ended.stdout))


class Cluster:
    """The documents of an overlay, by kind and name."""

    def __init__(self, overlay: str) -> None:
        self.overlay = overlay
        self.documents = rendered(f"overlays/{overlay}")

    def all(self, *kinds: str) -> list[Document]:
        """Every document of these kinds."""
        return [each for each in self.documents if each["kind"] in kinds]

    def get(self, kind: str, name: str) -> Document:
        """One document; fails unless there is exactly one."""
        found = [each for each in self.all(kind) if each["metadata"]["name"] == name]
        assert len(found) == 1, f"{kind}/{name} is there {len(found)} times"
        return found[0]

    def workload(self, name: str) -> Document:
        """The Deployment or StatefulSet of a name."""
        found = [each for each in self.all(*WORKLOADS) if each["metadata"]["name"] == name]
        assert len(found) == 1, name
        return found[0]

    def environment(self, name: str) -> dict[str, str]:
        """What a workload's container finds in its environment; what is in no Secret here is left out."""
        held = container(self.workload(name))
        found: dict[str, str] = {}
        for source in held.get("envFrom", []):
            if "configMapRef" in source:
                found |= self.get("ConfigMap", source["configMapRef"]["name"])["data"]
        for entry in held.get("env", []):
            if "value" in entry:
                found[entry["name"]] = entry["value"]
            elif (value := self.referenced(entry["valueFrom"])) is not None:
                found[entry["name"]] = value
        return found

    def referenced(self, source: Document) -> str | None:
        """The value that an entry of the environment points at; None where it is a Secret that is not here."""
        if key := source.get("configMapKeyRef"):
            value: str = self.get("ConfigMap", key["name"])["data"][key["key"]]
            return value
        key = source["secretKeyRef"]
        secrets = {each["metadata"]["name"]: plain(each) for each in self.all("Secret")}
        return secrets[key["name"]][key["key"]] if key["name"] in secrets else None


def plain(secret: Document) -> dict[str, str]:
    """The values of a Secret."""
    return {name: base64.b64decode(value).decode() for name, value in secret["data"].items()}


def pod(workload: Document) -> Document:
    """The specification of a workload's pods."""
    spec: Document = workload["spec"]["template"]["spec"]
    return spec


def container(workload: Document) -> Document:
    """The one container of a workload's pods."""
    (only,) = pod(workload)["containers"]
    held: Document = only
    return held


def labels(workload: Document) -> dict[str, str]:
    """The labels of a workload's pods."""
    found: dict[str, str] = workload["spec"]["template"]["metadata"]["labels"]
    return found


def selects(selector: Document, pods: dict[str, str]) -> bool:
    """Whether a label selector means pods with these labels."""
    if any(pods.get(key) != value for key, value in selector.get("matchLabels", {}).items()):
        return False
    for expression in selector.get("matchExpressions", []):
        assert expression["operator"] == "In", expression
        if pods.get(expression["key"]) not in expression["values"]:
            return False
    return True


def sources() -> Iterator[Path]:
    """Every YAML file that kustomize reads, but for its own."""
    for path in sorted(FOLDER.rglob("*.yaml")):
        if path.name != "kustomization.yaml":
            yield path
