"""What ingest loses by keeping token vectors: the same embedding with and without, rounds side by side."""

from __future__ import annotations

import asyncio
import statistics
import time
from pathlib import Path

import ragline.cache
from bench.report import Row
from bench.texts import texts
from ragline import threads
from ragline.encoder import Encoder
from services.preprocess.embed import PASSAGE, Embedding
from services.preprocess.embedders.onnx import Onnx

ROUNDS = 7
BATCH = 64
PIECES = 195


def measure(model: Path, folder: Path) -> Row:
    """How many times longer passages take to embed when their token vectors are kept in a file."""
    took = asyncio.run(rounds(model, folder))
    ratio = statistics.median(kept / plain for plain, kept in took)
    rate = BATCH / statistics.median(kept for _, kept in took)
    detail = f"{rate:.0f} passages/s of {PIECES} word pieces, {threads.available()} threads, {ROUNDS} rounds"
    return Row("ingest: embedding with ÷ without keeping token vectors", ratio, "≤ 1.1", ratio <= 1.1, detail)


async def rounds(model: Path, folder: Path) -> list[tuple[float, float]]:
    """Seconds of a batch without and with, each of texts never seen."""
    cache = ragline.cache.open(f"sqlite://{folder / 'cache.db'}")
    encoder = Encoder.open(model, threads=threads.available())
    embedding = Embedding(Onnx(encoder, "bench"), cache, max_batch_tokens=8192)
    await embedding.start()
    found = []
    for number in range(ROUNDS):
        given = texts(2 * BATCH, PIECES, seed=700 + number)
        pair = [await once(embedding, given[:BATCH], token_vectors=False)]
        pair.append(await once(embedding, given[BATCH:], token_vectors=True))
        found.append((pair[0], pair[1]))
    await embedding.close()
    await cache.close()
    return found


async def once(embedding: Embedding, passages: list[str], *, token_vectors: bool) -> float:
    """Seconds until the passages are embedded and kept."""
    began = time.perf_counter()
    await embedding.embed(passages, lane=PASSAGE, token_vectors=token_vectors)
    return time.perf_counter() - began
