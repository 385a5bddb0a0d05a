"""Compares scorers on judged sets: starts a private suite, puts the sets in, measures, and lets it end."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from ragline.cli.client import Client
from ragline.evaluation import EvaluationError
from ragline.evaluation.asked import NONE, Asked, settings
from ragline.evaluation.beir import Dataset
from ragline.evaluation.calibrating import Calibration, calibrate
from ragline.evaluation.corpus import ingest, numbered
from ragline.evaluation.figures import measured
from ragline.evaluation.measuring import Judged, Plan, measure, stored
from ragline.evaluation.processes import Services
from ragline.evaluation.report import Comparison

COLD = "memory://?max_mb=1"  # the smallest there is: room for the passages of two or three queries
MAX_CHARS = "1000000"  # of a query: a set's are measured as they are
NEVER = "1000000"  # failures in a row before a scorer is left alone: each query is asked of each

Show = Callable[[str, int, int], None]  # what is done, how many are, of how many


@dataclass(frozen=True)
class Wishes:
    """What a comparison is to be like. ``queries`` is the most of a set, drawn by ``seed``; 0: all."""

    queries: int
    candidates: int
    seed: int
    cold: bool
    calibrate: bool
    timeout_s: float


def compare(
    every: Sequence[Asked], sets: Sequence[Dataset], wishes: Wishes, folder: Path, models: Path, show: Show
) -> Comparison:
    """All figures; documents stay in ``folder``. Raises EvaluationError, and Failure where the suite goes away."""
    labels = [asked.label for asked in every]
    told = {**suite(wishes), **settings(every), "RAGLINE_MODELS_DIR": str(models.absolute())}
    with Services(folder, told) as services, Client(services.url("preprocess"), wishes.timeout_s) as client:
        found = [(data, answers(services, client, data, wishes, labels, show)) for data in sets]
    fits, unfit = calibrations(labels, found) if wishes.calibrate else ({}, [])
    return Comparison(
        sets=[measured(data, judged, labels) for data, judged in found],
        labels=labels,
        reference=labels[0],
        seed=wishes.seed,
        about=about(wishes),
        calibrations=fits,
        unfit=unfit,
    )


def suite(wishes: Wishes) -> dict[str, str]:
    """The settings of the private suite: nothing is kept that would make a second scoring cheaper than a first."""
    most = str(wishes.candidates)
    return {
        "RERANKER_SCORES_URL": "",
        "RERANKER_BUDGET_S": str(wishes.timeout_s),
        "RERANKER_BREAKER_FAILURES": NEVER,
        "RERANKER_MAX_PASSAGES": most,
        "RERANKER_MAX_QUERY_CHARS": MAX_CHARS,
        "RETRIEVER_MAX_QUERY_CHARS": MAX_CHARS,
        "RETRIEVER_MAX_TOP_K": most,
        "RETRIEVER_EMBED_TIMEOUT_S": "60",
        **({"RERANKER_CACHE_URL": COLD} if wishes.cold else {}),
    }


def about(wishes: Wishes) -> dict[str, str | int]:
    """How it was measured, for whoever reads the figures later."""
    return {
        "candidates": wishes.candidates,
        "seed": wishes.seed,
        "token vectors": "not kept" if wishes.cold else "kept",
        "clients": 1,
    }


def answers(
    services: Services, client: Client, data: Dataset, wishes: Wishes, labels: Sequence[str], show: Show
) -> list[Judged]:
    """The candidates and answers of a set's queries, once its documents are in."""
    queries = data.answerable
    if not queries:
        raise EvaluationError(f"{data.name}: no query has a text and a relevant document; is it the right split?")
    if 0 < wishes.queries < len(queries):
        queries = sorted(random.Random(wishes.seed).sample(queries, wishes.queries))  # noqa: S311 - no secret
    corpus = numbered(data)
    if not asyncio.run(stored(services, corpus)):
        ingest(client, data, corpus, lambda done, total: show(f"{data.name}: documents", done, total))
    plan = Plan(corpus, queries, labels, wishes.candidates, wishes.timeout_s)
    return asyncio.run(
        measure(services, data, plan, lambda done, total: show(f"{data.name}: queries", done, total))
    )


def calibrations(
    labels: Sequence[str], found: Sequence[tuple[Dataset, list[Judged]]]
) -> tuple[dict[str, Calibration], list[str]]:
    """Of each scorer, over all sets; and why there is none of a scorer, which is no reason to lose the rest."""
    parts = [(judged, data.judgements) for data, judged in found]
    fits: dict[str, Calibration] = {}
    unfit: list[str] = []
    for label in labels:
        try:
            if label != NONE:
                fits[label] = calibrate(label, parts)
        except EvaluationError as error:
            unfit.append(str(error))
    return fits, unfit
