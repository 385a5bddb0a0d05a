"""`/embed` against the bare model: the same tokenizer and ONNX Runtime session, without server or queue."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from functools import partial

from bench import load
from bench.report import Row
from bench.texts import texts
from ragline.encoder import Encoder

ROUNDS = 5
SINGLE = 60
SINGLE_WORDS = 12
MANY = 640
MANY_WORDS = 40
CLIENTS = 32
BATCH = 32


def measure(encoder: Encoder, port: int) -> list[Row]:
    """Latency of one client and throughput of 32, each as a ratio to the bare model in the same rounds."""
    return [latency(encoder, port), throughput(encoder, port)]


def latency(encoder: Encoder, port: int) -> Row:
    """p50 of single queries, HTTP against bare; rounds alternate. No text comes twice, so no cache answers."""
    bare, served = [], []
    for number in range(ROUNDS):
        queries = texts(2 * SINGLE, SINGLE_WORDS, seed=number)
        bare += [timed(partial(in_batches, encoder, [query])) for query in queries[:SINGLE]]
        served += load.run(port, "/embed", [{"input": query} for query in queries[SINGLE:]], 1).latencies_ms
    ratio = statistics.median(served) / statistics.median(bare)
    detail = f"HTTP {statistics.median(served):.2f} ms, bare {statistics.median(bare):.2f} ms"
    return Row("embed: one query, HTTP p50 ÷ bare p50", ratio, "≤ 1.5", ratio <= 1.5, detail)


def throughput(encoder: Encoder, port: int) -> Row:
    """Texts a second of 32 clients, one text a request, against bare batches of 32; rounds alternate."""
    bare, served = [], []
    for number in range(ROUNDS):
        passages = texts(2 * MANY, MANY_WORDS, seed=1000 + number)
        bare.append(MANY / timed(partial(in_batches, encoder, passages[:MANY])) * 1000)
        served.append(load.run(port, "/embed", [{"input": text} for text in passages[MANY:]], CLIENTS).per_second)
    ratio = statistics.median(served) / statistics.median(bare)
    detail = f"HTTP {statistics.median(served):.0f}/s, bare {statistics.median(bare):.0f}/s"
    return Row(f"embed: {CLIENTS} clients' throughput ÷ bare batches", ratio, "≥ 0.85", ratio >= 0.85, detail)


def in_batches(encoder: Encoder, passages: list[str]) -> None:
    """Everything through the bare model, in order of length."""
    ordered = sorted(passages, key=len)
    for start in range(0, len(ordered), BATCH):
        encoder.encode(encoder.tokenize(ordered[start : start + BATCH]))


def timed(work: Callable[[], object]) -> float:
    """Milliseconds that ``work`` takes."""
    began = time.perf_counter()
    work()
    return (time.perf_counter() - began) * 1000
