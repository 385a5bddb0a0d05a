"""docker-compose.yml and deploy/k8s run the same suite: settings, ports, probes, images, users, limits."""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import Any

import pytest
from fastapi import FastAPI

from ragline.http.ready import probes
from ragline.settings import Settings
from ragline.settings import load as load_settings
from services.generator.settings import Settings as GeneratorSettings
from services.preprocess.settings import Settings as PreprocessSettings
from services.reranker.settings import Settings as RerankerSettings
from services.retriever.settings import Settings as RetrieverSettings
from tests.deploy import compose_file
from tests.deploy.cluster import OVERLAYS, WORKLOADS, Cluster, container, pod
from tests.env_example import CLASSES

COMPOSE = compose_file.load()
SERVICES: dict[str, dict[str, Any]] = {
    name: service for name, service in COMPOSE["services"].items() if "profiles" not in service
}
OWN: dict[str, type[Settings]] = {
    "preprocess": PreprocessSettings,
    "preprocess-worker": PreprocessSettings,
    "retriever": RetrieverSettings,
    "reranker": RerankerSettings,
    "generator": GeneratorSettings,
    "generator-worker": GeneratorSettings,
}
PASSWORD = re.compile(r"(?<=://)([^:/@]+):[^@]*@")

# What is said in one place only, and why.
COMPOSE_ONLY = {
    # it holds a password, and these two publish nothing and consume nothing
    ("retriever", "RAGLINE_BROKER_URL"),
    ("reranker", "RAGLINE_BROKER_URL"),
    # asked where the store is Milvus; in Kubernetes that is a component, whose Secrets say it
    ("retriever", "RETRIEVER_MILVUS_URL"),
    ("retriever", "RETRIEVER_STATE_URL"),
}
KUBERNETES_ONLY = {
    # Compose hands .env to the services; here the door and the services are told by one map
    *((name, "RAGLINE_MAX_BODY_MB") for name in (*OWN, "nginx")),
}
# What has another value, and why.
DIFFERENT = {
    ("rabbitmq", "RABBITMQ_DEFAULT_PASS"),  # each has a throw-away of its own
}
# The users of the official images, which Kubernetes wants as numbers.
USERS = {"10001:10001": 10001, "nginx": 101, "redis": 999, "rabbitmq": 999}

own = pytest.mark.parametrize("name", OWN)
every = pytest.mark.parametrize("name", SERVICES)


@pytest.fixture
def dev() -> Cluster:
    """The overlay with the same servers as Compose."""
    return Cluster("dev")


def test_the_same_services_run(dev: Cluster) -> None:
    assert {each["metadata"]["name"] for each in dev.all(*WORKLOADS)} == set(SERVICES)


@every
def test_settings_are_the_same(dev: Cluster, name: str) -> None:
    there, here = compose_file.environment(SERVICES[name]), dev.environment(name)
    assert there.keys() - here.keys() == {setting for service, setting in COMPOSE_ONLY if service == name}
    assert here.keys() - there.keys() == {setting for service, setting in KUBERNETES_ONLY if service == name}
    for setting in there.keys() & here.keys():
        if (name, setting) in DIFFERENT:
            assert there[setting] != here[setting]
        else:
            assert without_password(there[setting]) == without_password(here[setting]), setting


def without_password(value: str) -> str:
    """A URL with the user's name alone."""
    return PASSWORD.sub(r"\1@", value)


@own
@pytest.mark.parametrize("overlay", OVERLAYS)
def test_settings_are_accepted(overlay: str, name: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Every name is one of a Settings class, and every value is one that it takes."""
    monkeypatch.chdir(tmp_path)
    given = Cluster(overlay).environment(name)
    known = {(settings.prefix() + field).upper() for settings in CLASSES for field in settings.model_fields}
    assert given.keys() <= known
    for variable in list(os.environ):
        if variable.startswith(("RAGLINE_", OWN[name].prefix())):
            monkeypatch.delenv(variable)
    for variable, value in given.items():
        monkeypatch.setenv(variable, value)
    load_settings(OWN[name])


@own
def test_the_overlays_set_the_same(dev: Cluster, name: str) -> None:
    prod = Cluster("prod")
    here, there = dev.environment(name), prod.environment(name)
    urls = {setting for setting in here if "s3:" in there.get(setting, "")}
    assert {setting for setting in here.keys() & there.keys() if here[setting] != there[setting]} == urls
    assert names(prod, name) == names(dev, name)


def names(cluster: Cluster, name: str) -> set[str]:
    """Every variable that a container is given by name, those out of Secrets too."""
    own = container(cluster.workload(name)).get("env", [])
    return {entry["name"] for entry in own} | cluster.environment(name).keys()


def test_what_both_leave_to_defaults_is_the_same(dev: Cluster) -> None:
    for name, settings in OWN.items():
        default = settings.model_fields["max_body_mb"].default
        assert dev.environment(name)["RAGLINE_MAX_BODY_MB"] == str(default)
    door = (compose_file.ROOT / "nginx" / "settings.env").read_text()
    assert f"\nRAGLINE_MAX_BODY_MB={dev.environment('nginx')['RAGLINE_MAX_BODY_MB']}\n" in door


@own
def test_ports_are_the_same(dev: Cluster, name: str) -> None:
    ports = {port["name"]: port["containerPort"] for port in container(dev.workload(name))["ports"]}
    given = compose_file.environment(SERVICES[name])
    prefix = OWN[name].prefix()
    assert str(ports["http"]) == given[f"{prefix}PORT"]
    if name.endswith("-worker"):
        assert ports.keys() == {"http"}
    else:
        assert str(ports["grpc"]) == given[f"{prefix}GRPC_PORT"]


@pytest.mark.parametrize(("name", "port"), [("nginx", 8080), ("redis", 6379), ("rabbitmq", 5672)])
def test_ports_of_servers_are_the_same(dev: Cluster, name: str, port: int) -> None:
    assert [each["containerPort"] for each in container(dev.workload(name))["ports"]] == [port]
    if name == "nginx":
        assert [each.rpartition(":")[2] for each in SERVICES[name]["ports"]] == [str(port)]
    else:
        urls = [value for each in OWN for value in compose_file.environment(SERVICES[each]).values()]
        assert any(f"{name}:{port}/" in value for value in urls)


@every
def test_probes_ask_the_same(dev: Cluster, name: str) -> None:
    asked = " ".join(SERVICES[name]["healthcheck"]["test"])
    held = container(dev.workload(name))
    ready = held["readinessProbe"]
    if name == "nginx":
        assert asked.endswith(f"http://127.0.0.1:8080{ready['httpGet']['path']}")
    elif name in OWN:
        assert asked.endswith("/app/bin/probe.py")  # of /readyz, where no path is given
        assert "grpc" in ready or ready["httpGet"]["path"] == "/readyz"  # gRPC health follows the same checks
        assert held["livenessProbe"]["httpGet"]["path"] == "/healthz"
    else:
        assert ready["exec"]["command"][-1] in asked


def test_probes_ask_what_there_is() -> None:
    app = FastAPI()
    app.include_router(probes({}))
    assert {"/healthz", "/readyz"} <= app.openapi()["paths"].keys()


@every
def test_containers_are_the_same(dev: Cluster, name: str) -> None:
    there, workload = SERVICES[name], dev.workload(name)
    here = container(workload)
    assert here["image"] == there["image"]
    assert pod(workload)["securityContext"]["runAsUser"] == USERS[there["user"]]
    limits, wanted = here["resources"]["limits"], there["deploy"]["resources"]["limits"]
    assert float(limits["cpu"]) == float(wanted["cpus"])
    assert megabytes(limits["memory"]) == megabytes(wanted["memory"])
    assert here.get("command") == there.get("entrypoint")
    assert here.get("args") == there.get("command")
    grace_s = pod(workload)["terminationGracePeriodSeconds"]
    assert grace_s >= compose_file.seconds(there.get("stop_grace_period", "10s"))


def megabytes(text: str) -> int:
    """Of ``1536m``, ``3g`` (Compose), ``1536Mi`` or ``3Gi`` (Kubernetes): both mean powers of two."""
    match = re.fullmatch(r"(\d+)([mMgG])i?", text)
    assert match, text
    return int(match[1]) * (1024 if match[2] in "gG" else 1)


@every
def test_the_same_folders_can_be_written_to(dev: Cluster, name: str) -> None:
    there = {volume.split(":")[1] for volume in SERVICES[name].get("volumes", [])}
    there |= {folder.split(":")[0] for folder in SERVICES[name].get("tmpfs", [])}
    assert {mount["mountPath"] for mount in container(dev.workload(name))["volumeMounts"]} == there


def test_doors_and_workers_share_their_volumes(dev: Cluster) -> None:
    for name in ("preprocess", "generator"):
        claims = [
            volume["persistentVolumeClaim"]["claimName"]
            for each in (name, f"{name}-worker")
            for volume in pod(dev.workload(each))["volumes"]
            if "persistentVolumeClaim" in volume
        ]
        assert claims == [SERVICES[name]["volumes"][0].partition(":")[0]] * 2
