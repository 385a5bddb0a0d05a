"""Ingest through RabbitMQ with two workers, both killed on the way, against the bare model on the same cores."""

from __future__ import annotations

import random
import statistics
import threading
import time
from functools import partial
from pathlib import Path

from bench.embed import in_batches, timed
from bench.report import Row
from bench.texts import texts
from ragline import threads
from ragline.encoder import Encoder
from tests.stack.spread import Spread

DOCUMENTS = 10_000
WORDS = 130
PER_REQUEST = 500
WORKERS = 2
KILLS = 2
SAMPLE = 640
LIMIT_S = 3600.0


def measure(encoder: Encoder, folder: Path) -> list[Row]:
    """Documents a second as a share of the passages that the bare model embeds, and what of them was lost."""
    passages = texts(DOCUMENTS, WORDS, seed=7)
    bare = [rate(encoder, passages[:SAMPLE])]
    share = max(1, threads.available() // WORKERS)
    replicas = {"preprocess-worker": WORKERS, "generator-worker": 0}
    with Spread(folder, replicas, {"PREPROCESS_THREADS": str(share)}) as spread:
        seconds = ingest(spread, passages)
        lost = DOCUMENTS - len({document["id"] for document in spread.documents()})
    bare.append(rate(encoder, passages[-SAMPLE:]))
    limit = statistics.median(bare)
    ratio = DOCUMENTS / seconds / limit
    detail = f"{DOCUMENTS / seconds:.0f} documents/s of {WORDS} words, {KILLS} workers killed; bare {limit:.0f}/s"
    return [
        Row(f"ingest: {WORKERS} workers' throughput ÷ bare batches", ratio, "≥ 0.8", ratio >= 0.8, detail),
        Row("ingest: documents lost", lost, "0", lost == 0, f"of {DOCUMENTS}, {KILLS} workers killed"),
    ]


def rate(encoder: Encoder, passages: list[str]) -> float:
    """Passages a second of the bare model on all cores."""
    return len(passages) / timed(partial(in_batches, encoder, passages)) * 1000


def ingest(spread: Spread, passages: list[str]) -> float:
    """Send everything and kill workers meanwhile; returns the seconds until the last job has ended."""
    began = time.perf_counter()
    ended = threading.Event()
    killer = threading.Thread(target=kill, args=(spread, ended), daemon=True)
    killer.start()
    jobs = []
    with spread.client("preprocess", timeout_s=600) as client:
        for start in range(0, len(passages), PER_REQUEST):
            batch = passages[start : start + PER_REQUEST]
            documents = [{"id": f"d{start + n}", "text": text} for n, text in enumerate(batch)]
            answer = client.post("/documents", json={"documents": documents}).raise_for_status()
            jobs.append(answer.json()["job_id"])
    for job in jobs:
        if spread.job(job, LIMIT_S)["state"] != "done":
            raise RuntimeError(f"{job} failed\n{spread.tail()}")
    seconds = time.perf_counter() - began
    ended.set()
    killer.join()
    return seconds


def kill(spread: Spread, ended: threading.Event) -> None:
    """Kill -9 one worker after the other, a few seconds apart, and start it again."""
    dice = random.Random(3)
    for worker in spread.of("preprocess-worker")[:KILLS]:
        if ended.wait(dice.uniform(4, 8)):
            return
        worker.kill()
        worker.start()
