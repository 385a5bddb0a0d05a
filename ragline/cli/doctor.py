"""``ragline doctor``: looks at what the suite stands on and says what is wrong."""

from __future__ import annotations

import shutil
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from ragline import threads
from ragline.cli.client import Client, Failure
from ragline.cli.settings import Settings
from ragline.models import ModelStore

LEAST_DISK_GB = 1.0


@dataclass(frozen=True)
class Finding:
    """One thing looked at. ``fine`` is None where it is only worth knowing."""

    name: str
    fine: bool | None
    detail: str


def examine(settings: Settings) -> Iterator[Finding]:
    """Every finding, in the order in which a start needs it."""
    yield python()
    yield Finding("cores", True, f"{threads.available()} that this process may use")
    yield disk(settings.data_dir)
    for model in ModelStore(settings.models_dir).list():
        fine = model.state == "present"
        yield Finding(
            f"model {model.id}", fine, model.state if fine else f"{model.state}; run `ragline models pull`"
        )
    yield answer("server", settings, lambda client: "ready" if client.get("/readyz") else "")


def python() -> Finding:
    """Whether this Python is new enough."""
    version = ".".join(str(part) for part in sys.version_info[:3])
    return Finding("python", sys.version_info >= (3, 11), f"{version}, 3.11 or newer is needed")


def disk(folder: Path) -> Finding:
    """Whether the folder of durable data has room."""
    existing = next(path for path in (folder.resolve(), *folder.resolve().parents) if path.exists())
    free_gb = shutil.disk_usage(existing).free / 1e9
    return Finding("disk", free_gb >= LEAST_DISK_GB, f"{free_gb:.1f} GB free below {existing}")


def answer(name: str, settings: Settings, ask: Callable[[Client], str]) -> Finding:
    """Whether the suite answers; not running is worth knowing, but no fault."""
    with Client(settings.base_url, timeout_s=5) as client:
        try:
            return Finding(name, True, f"{ask(client)} at {settings.base_url}")
        except Failure as failure:
            return Finding(name, None, str(failure))
