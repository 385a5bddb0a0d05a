"""Writes .env.example from the Settings classes: every setting, what it is for, and its default."""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from pydantic import SecretStr

from ragline.cli.settings import Settings as SuiteSettings
from ragline.settings import Settings
from services.generator.settings import Settings as GeneratorSettings
from services.preprocess.settings import Settings as PreprocessSettings
from services.reranker.settings import Settings as RerankerSettings
from services.retriever.settings import Settings as RetrieverSettings
from tests.deploy.compose_file import ROOT, variables

CLASSES: tuple[type[Settings], ...] = (
    SuiteSettings,
    PreprocessSettings,
    RetrieverSettings,
    RerankerSettings,
    GeneratorSettings,
)
HEAD = """# Every setting with its default. Copy to .env and uncomment what you change.
# Built by `make env-example`; a misspelt name or a bad value stops the start.
# RAGLINE_DATA_DIR and the other shared names hold for all services; PREPROCESS_DATA_DIR and so on win over them.
"""
# What docker-compose.yml takes from .env beside settings.
COMPOSE = {
    "RABBITMQ_PASSWORD": "letters and digits; kept from the first start",  # pragma: allowlist secret
    "REDIS_MAXMEMORY": "memory of Redis, from which on it drops the oldest entries of caches",
    "IMAGE_PREFIX": "registry and folder of the images",
    "IMAGE_TAG": "version of the images",
    "IMAGE_EXTRAS": "extras in the images of preprocess and generator, such as s3",
    "IMAGE_RETRIEVER_EXTRAS": "extras in the retriever's image, such as milvus",
    "IMAGE_MODELS_GENERATOR": "models in the generator's image, such as SmolLM2-135M-Instruct for llamacpp",
    "PROMETHEUS_KEEP": "how long Prometheus keeps what it read",
    "PROMETHEUS_PORT": "port of Prometheus on 127.0.0.1 (profile observability)",
    "GRAFANA_PORT": "port of Grafana on 127.0.0.1 (profile observability)",
    "GRAFANA_PASSWORD": "password of Grafana's user admin; kept from the first start",
}
LIMITS = {
    "CPUS": "cores that one container may use; no more than the machine has",
    "MEMORY": "memory that it may take",
}


def render() -> str:
    """The whole file."""
    lines = [line for settings in CLASSES for line in section(settings)]
    return HEAD + "".join(f"\n{line}" for line in [*lines, *door(), *compose()]) + "\n"


def door() -> Iterator[str]:
    """The settings of NGINX that docker-compose.yml hands on; several may share what is said above the first."""
    taken = set(re.findall(r"^ +(NGINX_[A-Z_]+):$", (ROOT / "docker-compose.yml").read_text(), re.MULTILINE))
    yield "# --- nginx: the door before several processes (docs/how-to/nginx.md)."
    said = ""
    for line in (ROOT / "nginx" / "settings.env").read_text().splitlines():
        if line.startswith("#"):
            said = line
        elif line.partition("=")[0] in taken:
            yield from filter(None, (said, f"# {line}"))
            said = ""
    yield ""


def compose() -> Iterator[str]:
    """The lines of what only docker-compose.yml reads."""
    yield "# --- docker compose: what docker-compose.yml reads beside the settings above (docs/how-to/compose.md)."
    settings = tuple(each.prefix() for each in CLASSES)
    for name, default in variables().items():
        if not name.startswith(settings):
            yield f"# {COMPOSE.get(name) or LIMITS[name.rpartition('_')[2]]}"
            yield f"# {name}={default}"
    yield ""


def section(settings: type[Settings]) -> Iterator[str]:
    """The lines of one class; what all services share stands in the first section only."""
    yield f"# --- {settings.prefix().rstrip('_').lower()}: {(settings.__doc__ or '').splitlines()[0]}"
    for name, field in settings.model_fields.items():
        if settings is SuiteSettings or name not in Settings.model_fields:
            yield f"# {field.description}"
            yield f"# {(settings.prefix() + name).upper()}={shown(field.get_default(call_default_factory=True))}"
    yield ""


def shown(value: Any) -> str:
    """The default as it would be written in the environment."""
    if isinstance(value, SecretStr) or value is None:
        return ""
    if isinstance(value, Path):
        return str(value)
    return value if isinstance(value, str) else json.dumps(value)


if __name__ == "__main__":
    sys.stdout.write(render())
