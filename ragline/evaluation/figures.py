"""The figures of a comparison: quality by query with paired differences, latency and throughput, faults."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from ragline.evaluation.asked import NONE
from ragline.evaluation.beir import Dataset
from ragline.evaluation.measuring import Judged
from ragline.evaluation.metrics import Difference, difference, ndcg, recall, reciprocal_rank

MEAN = "mean of the sets"


@dataclass(frozen=True)
class Values:
    """One scorer's values by query on one set, of the queries that it answered itself; latencies of all."""

    ndcg: Mapping[str, float]
    mrr: Mapping[str, float]
    seconds: Sequence[float]
    pairs: int
    faults: Mapping[str, int]


@dataclass(frozen=True)
class Measured:
    """A set and the values of each scorer on it; ``recall`` and ``ceiling`` are of the candidates.

    ``ceiling`` is the nDCG@10 of the best order there is of them. ``remarks`` say what is odd about the set.
    """

    name: str
    documents: int
    queries: int
    candidates: int
    recall: float
    ceiling: float
    remarks: Sequence[str]
    scorers: Mapping[str, Values]


@dataclass(frozen=True)
class Row:
    """One scorer on one set, or on all (``MEAN``). Latency in milliseconds; None for the order of the search."""

    scorer: str
    ndcg: float
    mrr: float
    to_none: Difference | None
    to_reference: Difference | None
    p50_ms: float | None = None
    p95_ms: float | None = None
    pairs_s: float | None = None
    faults: Mapping[str, int] = field(default_factory=dict)


def measured(data: Dataset, judged: Sequence[Judged], labels: Sequence[str]) -> Measured:
    """The values of each scorer on a set."""
    grades = data.judgements
    whole = [(one.ranking(NONE), grades[one.query]) for one in judged]
    best = [sorted(found, key=lambda key: -known.get(key, 0)) for found, known in whole]
    return Measured(
        name=data.name,
        documents=len(data.corpus),
        queries=len(judged),
        candidates=max(len(one.documents) for one in judged),
        recall=float(np.mean([recall(found, known, len(found)) for found, known in whole])),
        ceiling=float(np.mean([ndcg(order, known) for order, (_, known) in zip(best, whole, strict=True)])),
        remarks=remarks(data),
        scorers={label: values(label, judged, grades) for label in labels},
    )


def values(label: str, judged: Sequence[Judged], grades: Mapping[str, Mapping[str, int]]) -> Values:
    """Of one scorer; what it did not answer itself is counted and not judged."""
    sound = [one for one in judged if label == NONE or not one.answers[label].fault]
    answers = [] if label == NONE else [one.answers[label] for one in judged]
    return Values(
        ndcg={one.query: ndcg(one.ranking(label), grades[one.query]) for one in sound},
        mrr={one.query: reciprocal_rank(one.ranking(label), grades[one.query]) for one in sound},
        seconds=[answer.seconds for answer in answers if not answer.fault],
        pairs=sum(len(answer.order) for answer in answers),
        faults=dict(Counter(answer.fault for answer in answers if answer.fault)),
    )


def remarks(data: Dataset) -> list[str]:
    """What a reader should know of a set before believing figures of it."""
    found = []
    if count := data.unknown_documents:
        found.append(f"{count:,} judgements are of documents that are not in the corpus; they count as not found")
    if count := data.unknown_queries:
        found.append(f"{count:,} judged queries have no text; they are left out")
    if count := len(data.queries) - len(data.answerable):
        found.append(f"{count:,} queries have nothing relevant; they are left out")
    return found


def rows(sets: Sequence[Measured], labels: Sequence[str], reference: str, seed: int) -> list[Row]:
    """Each scorer, over one set or as the mean of several."""
    return [row(label, sets, reference, seed) for label in labels]


def row(label: str, sets: Sequence[Measured], reference: str, seed: int) -> Row:
    """One scorer beside the order of the search and the reference."""
    mine = [part.scorers[label] for part in sets]
    seconds = [second for part in mine for second in part.seconds]
    milliseconds = np.percentile(seconds, [50, 95]) * 1e3 if seconds else None
    return Row(
        scorer=label,
        ndcg=average([part.ndcg for part in mine]),
        mrr=average([part.mrr for part in mine]),
        to_none=None if label == NONE else compared(label, NONE, sets, seed),
        to_reference=None if label == reference else compared(label, reference, sets, seed),
        p50_ms=None if milliseconds is None else float(milliseconds[0]),
        p95_ms=None if milliseconds is None else float(milliseconds[1]),
        pairs_s=sum(part.pairs for part in mine) / sum(seconds) if sum(seconds) else None,
        faults=dict(sum((Counter(part.faults) for part in mine), Counter())),
    )


def average(parts: Sequence[Mapping[str, float]]) -> float:
    """The mean of the sets' means; not a number where one has no value at all."""
    return float(np.mean([np.mean(list(part.values())) if part else np.nan for part in parts]))


def compared(label: str, other: str, sets: Sequence[Measured], seed: int) -> Difference | None:
    """The paired difference over the queries that both answered; None where a set has none."""
    pairs = [
        [(value, theirs[query]) for query, value in part.scorers[label].ndcg.items() if query in theirs]
        for part in sets
        for theirs in [part.scorers[other].ndcg]
    ]
    return difference(pairs, seed) if all(pairs) else None


def worse(last: Row, allowed: float) -> str:
    """Why the last scorer does not pass: empty where it does.

    It fails where its nDCG@10 is below the reference's by more than ``allowed`` and the interval is below 0, and
    where it left queries unanswered.
    """
    if last.faults:
        return f"{last.scorer} did not answer {sum(last.faults.values())} queries itself"
    gap = last.to_reference or last.to_none
    if gap is None:
        return f"{last.scorer} has nothing to be compared with"
    if gap.mean < -allowed and gap.high < 0:
        bounds = f"[{gap.low:+.3f}, {gap.high:+.3f}]"
        return f"{last.scorer} loses {-gap.mean:.3f} nDCG@10 {bounds}; {allowed} is allowed"
    return ""
