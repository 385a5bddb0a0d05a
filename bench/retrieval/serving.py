"""One engine in a process of its own: ``python -m bench.retrieval.serving module:Class corpus [folder]``.

Each line on stdin is a call, ``{"call": name, "arguments": {...}}``; each line on stdout its result. Needs numpy
alone, so that peers run it in an environment that knows nothing of this project.
"""

from __future__ import annotations

import importlib
import json
import os
import statistics
import sys
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, Protocol

from bench.retrieval.corpus import Corpus

DEPTH = 10


class Engine(Protocol):
    """What every engine and peer can do; some can do more, which is called by its name."""

    def build(self) -> None:
        """Take in the corpus; returns when it can be searched at full speed."""
        ...

    def search(self, query: int, depth: int) -> list[int]:
        """The numbers of the passages found for a query of the corpus, best first."""
        ...


def ask(engine: Engine, queries: Sequence[int], depth: int = DEPTH) -> dict[str, Any]:
    """One query after the other: milliseconds of each, and what was found."""
    milliseconds, found = [], []
    for query in queries:
        began = time.perf_counter()
        found.append(engine.search(query, depth))
        milliseconds.append((time.perf_counter() - began) * 1000)
    return {"ms": milliseconds, "found": found}


def load(engine: Engine, clients: int, seconds: float, queries: int, depth: int = DEPTH) -> dict[str, float]:
    """Queries a second of so many clients, each a thread that asks again once it is answered."""
    deadline = time.perf_counter() + seconds
    milliseconds: list[float] = []
    lock = threading.Lock()

    def client(number: int) -> None:
        query = number * 7
        while time.perf_counter() < deadline:
            began = time.perf_counter()
            engine.search(query % queries, depth)
            with lock:
                milliseconds.append((time.perf_counter() - began) * 1000)
            query += 1

    began = time.perf_counter()
    with ThreadPoolExecutor(clients) as pool:
        list(pool.map(client, range(clients)))
    return loaded(milliseconds, time.perf_counter() - began)


def loaded(milliseconds: Sequence[float], seconds: float) -> dict[str, float]:
    """What a load came to."""
    ordered = sorted(milliseconds)
    return {
        "per_second": len(ordered) / seconds,
        "p50": statistics.median(ordered),
        "p95": ordered[min(len(ordered) - 1, int(len(ordered) * 0.95))],
    }


def timed(work: Callable[[], object]) -> float:
    """Seconds that ``work`` takes."""
    began = time.perf_counter()
    work()
    return time.perf_counter() - began


def respond(engine: Any, call: str, arguments: dict[str, Any]) -> Any:
    """The result of a call."""
    if call == "build":
        return timed(engine.build)
    own = getattr(engine, call, None)
    if own is not None:
        return own(**arguments)
    known: dict[str, Callable[..., Any]] = {"ask": ask, "load": load}
    return known[call](engine, **arguments)


def main() -> None:
    """Serve until stdin ends. What libraries print goes to stderr."""
    answers = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)
    module, _, name = sys.argv[1].partition(":")
    parts = [Corpus(Path(sys.argv[2])), *map(Path, sys.argv[3:])]
    engine = getattr(importlib.import_module(module), name)(*parts)
    for line in sys.stdin:
        asked = json.loads(line)
        print(json.dumps(respond(engine, asked["call"], asked["arguments"])), file=answers, flush=True)


if __name__ == "__main__":
    main()
