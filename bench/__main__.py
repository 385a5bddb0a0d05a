"""Runs every measurement and prints one table."""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

from bench import embed, generate, ingest, nginx, search
from bench.report import table
from ragline import threads
from ragline.encoder import Encoder
from ragline.models import ModelStore
from ragline.settings import Settings, load
from tests.suite import Suite


def main() -> None:
    """Measure a suite of its own, then the search at size."""
    rows = []
    folder = ModelStore(load(Settings).models_dir).path("all-MiniLM-L6-v2")
    with tempfile.TemporaryDirectory() as data, Suite(Path(data)) as suite, suite.client() as client:
        rows += embed.measure(Encoder.open(folder, threads=threads.available()), suite.port)
        rows.append(generate.measure(client))
        rows += nginx.measure(suite, Path(data) / "nginx")
    with tempfile.TemporaryDirectory() as data:
        rows += ingest.measure(Encoder.open(folder, threads=threads.available()), Path(data))
    with tempfile.TemporaryDirectory() as data:
        rows += search.measure(Path(data))
    print(f"\n{threads.available()} cores\n\n{table(rows)}")
    sys.exit(any(row.holds is False for row in rows))


if __name__ == "__main__":
    main()
