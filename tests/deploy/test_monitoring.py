"""Prometheus asks where the services are, and alerts and dashboards speak of metrics that are there."""

import ast
import json
import re
import shutil
import subprocess
from collections.abc import Iterator

import pytest
import yaml

from tests.deploy.compose_file import ROOT
from tests.deploy.test_compose import OWN, SERVICES

PROMETHEUS = ROOT / "deploy" / "prometheus"
DASHBOARDS = sorted((ROOT / "deploy" / "grafana" / "dashboards").glob("*.json"))
SUFFIXES = {"counter": ["_total"], "gauge": [""], "histogram": ["_bucket", "_count", "_sum"]}
# Of prometheus-client's process collector, and of Prometheus itself.
OTHERS = {"process_cpu_seconds_total", "process_resident_memory_bytes", "process_open_fds", "up"}
FUNCTIONS = {
    "sum", "rate", "absent", "max", "min", "by", "or", "and", "on", "histogram_quantile", "label_values", "count",
    "increase", "clamp_min", "unless",
}  # fmt: skip


def exposed() -> Iterator[str]:
    """The names on the pages of metrics, as the source makes them."""
    for folder in ("ragline", "services"):
        for path in (ROOT / folder).rglob("*.py"):
            for node in ast.walk(ast.parse(path.read_text())):
                if isinstance(node, ast.Call) and node.args and isinstance(node.args[0], ast.Constant):
                    kind = getattr(node.func, "attr", getattr(node.func, "id", ""))
                    name = str(node.args[0].value)
                    if kind in SUFFIXES and name.startswith("ragline_"):
                        yield from (name + suffix for suffix in SUFFIXES[kind])


def metrics_in(expression: str) -> set[str]:
    """The metrics that an expression reads."""
    bare = re.sub(r'"[^"]*"', "", expression)
    bare = re.sub(r"\{[^}]*\}|\[[^\]]*\]|\b(by|on)\s*\([^)]*\)", " ", bare)
    words = set(re.findall(r"\b[a-z_][a-z0-9_:]*\b", bare))
    return words - FUNCTIONS - {"service"}


def rules() -> list[str]:
    groups = yaml.safe_load((PROMETHEUS / "alerts.yml").read_text())["groups"]
    return [rule["expr"] for group in groups for rule in group["rules"]]


def shown() -> list[str]:
    boards = [json.loads(path.read_text()) for path in DASHBOARDS]
    return [target["expr"] for board in boards for panel in board["panels"] for target in panel["targets"]]


@pytest.mark.parametrize("expression", [*rules(), *shown()])
def test_metrics_are_there(expression: str) -> None:
    asked = metrics_in(expression)
    assert asked
    assert asked <= {*exposed(), *OTHERS}


def test_prometheus_asks_every_service_at_its_port() -> None:
    config = yaml.safe_load((PROMETHEUS / "prometheus.yml").read_text())
    asked = {
        name: each["port"]
        for job in config["scrape_configs"]
        for each in job["dns_sd_configs"]
        for name in each["names"]
    }
    ports = {name: settings.model_fields["port"].default for name, settings in OWN.items()}
    assert asked == ports | {"rabbitmq": 15692}
    assert set(asked) <= set(SERVICES)


def test_grafana_finds_its_files() -> None:
    folder = ROOT / "deploy" / "grafana" / "provisioning"
    source = yaml.safe_load((folder / "datasources" / "prometheus.yml").read_text())["datasources"][0]
    assert source["url"] == "http://prometheus:9090"
    provider = yaml.safe_load((folder / "dashboards" / "ragline.yml").read_text())["providers"][0]
    path = provider["options"]["path"]
    assert f"./deploy/grafana/dashboards:{path}:ro" in SERVICES["grafana"]["volumes"]
    for board in (json.loads(file.read_text()) for file in DASHBOARDS):
        assert {panel["datasource"]["uid"] for panel in board["panels"]} == {source["uid"]}


@pytest.mark.parametrize(
    "arguments",
    [
        ["check", "config", "deploy/prometheus/prometheus.yml"],
        ["check", "rules", "deploy/prometheus/alerts.yml"],
        ["test", "rules", "tests/deploy/alerts_test.yml"],
    ],
    ids=" ".join,
)
def test_promtool_accepts(arguments: list[str]) -> None:
    program = shutil.which("promtool")
    if not program:
        pytest.skip("promtool is not installed; apt-get install prometheus")
    ended = subprocess.run([program, *arguments], cwd=ROOT, capture_output=True, text=True, check=False)
    assert ended.returncode == 0, ended.stdout + ended.stderr
