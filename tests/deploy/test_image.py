"""The Dockerfile keeps to the settings and to pyproject.toml; nothing here needs Docker."""

import ast
import http.server
import os
import re
import subprocess
import sys
import threading
import tomllib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

import ragline
from tests.deploy.compose_file import ROOT
from tests.deploy.test_compose import OWN
from tests.suite import free_ports

DOCKERFILE = (ROOT / "Dockerfile").read_text()
SERVICES = ("preprocess", "retriever", "reranker", "generator")
PROBE = ROOT / "deploy" / "docker" / "probe.py"


def test_the_image_is_pinned_small_and_without_root() -> None:
    assert "# syntax" not in DOCKERFILE
    assert re.search(r"^ARG PYTHON_IMAGE=python:3\.11\.\d+-slim-bookworm$", DOCKERFILE, re.MULTILINE)
    final = DOCKERFILE.partition(" AS service\n")[2]
    assert "USER 10001:10001\n" in final
    assert "pip" not in final
    assert "apt-get" not in DOCKERFILE


def test_the_image_is_of_this_version() -> None:
    assert f"ARG VERSION={ragline.__version__}\n" in DOCKERFILE


def test_all_doors_are_exposed() -> None:
    exposed = re.search(r"^EXPOSE (.*)$", DOCKERFILE, re.MULTILINE)
    assert exposed
    ports = {settings.model_fields[field].default for settings in OWN.values() for field in ("port", "grpc_port")}
    assert {int(port) for port in exposed[1].split()} == ports


@pytest.mark.parametrize("service", SERVICES)
def test_each_service_has_its_dependencies_and_weights(service: str) -> None:
    command = [sys.executable, "deploy/docker/requirements.py", "pyproject.toml", service]
    listed = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True).stdout.splitlines()
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    assert set(listed) == {*project["project"]["dependencies"], *project["dependency-groups"][service]}
    assert not [line for line in listed if re.match("grpcio-tools|mypy|torch", line)]
    assert f"FROM fetch AS weights-{service}\n" in DOCKERFILE
    assert f"{service.upper()}_HOST=0.0.0.0" in DOCKERFILE


@pytest.mark.parametrize("folder", ["ragline", "services"])
def test_what_builds_is_not_needed_to_run(folder: str) -> None:
    """grpcio-tools and mypy-protobuf are in no image."""
    for path in (ROOT / folder).rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            names += [node.module or ""] if isinstance(node, ast.ImportFrom) else []
            assert not [name for name in names if name.split(".")[0] in {"grpc_tools", "mypy_protobuf"}], path


def test_what_is_copied_is_sent_to_the_builder() -> None:
    sent = [
        line[1:].removesuffix("/**") for line in (ROOT / ".dockerignore").read_text().split() if line[0] == "!"
    ]
    for line in re.findall(r"^COPY (?!--from)(?:--\S+ )?(.*)$", DOCKERFILE, re.MULTILINE):
        for source in line.split()[:-1]:
            path = source.replace("${SERVICE}", "preprocess")
            assert (ROOT / path).exists(), source
            assert any(path == each or path.startswith(f"{each}/") for each in sent), source


class Health(http.server.BaseHTTPRequestHandler):
    """Answers /readyz with the status of its server."""

    status = 200

    def do_GET(self) -> None:
        self.send_response(self.status if self.path == "/readyz" else 404)
        self.end_headers()
        self.wfile.write(b'{"status": "told"}')

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - as the library has it
        """Nothing."""


@contextmanager
def answering(status: int) -> Iterator[int]:
    """A server on 127.0.0.1 that gives this status; its port."""
    handler = type("Handler", (Health,), {"status": status})
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield server.server_address[1]
        server.shutdown()
        thread.join()


def probe(port: int, *arguments: str) -> subprocess.CompletedProcess[str]:
    environment = {"PATH": os.environ["PATH"], "SERVICE": "reranker", "RERANKER_PORT": str(port)}
    command = [sys.executable, "-IS", str(PROBE), *arguments]
    return subprocess.run(command, env=environment, capture_output=True, text=True, check=False)


def test_the_probe_asks_whether_the_service_is_ready() -> None:
    with answering(200) as port:
        ready = probe(port)
        assert (ready.returncode, "told" in ready.stdout) == (0, True)
        assert probe(port, "/elsewhere").returncode == 1
    with answering(503) as port:
        busy = probe(port)
        assert busy.returncode == 1
        assert "503" in busy.stdout
    assert probe(free_ports(1)[0]).returncode == 1


def test_the_probe_knows_the_ports() -> None:
    ports = {name: settings.model_fields["port"].default for name, settings in OWN.items() if name in SERVICES}
    text = Path(PROBE).read_text()
    assert f"DEFAULT_PORTS = {ports}".replace("'", '"') in text
