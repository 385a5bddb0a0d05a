"""Makes one ranking of those that several wordings of a question found."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass

from ragline.v1.retriever_pb2 import Hit, SearchResult

K = 60  # as in Cormack, Clarke and Buettcher, "Reciprocal rank fusion", SIGIR 2009
OTHER = 0.5  # what another wording counts beside the question itself


@dataclass(frozen=True)
class Wording:
    """A wording that was searched for, and the ids of the passages that it found, best first."""

    text: str
    passages: tuple[str, ...]


def fuse(results: Sequence[SearchResult], top_k: int, other: float = OTHER) -> SearchResult:
    """The ``top_k`` best of all, by weighted reciprocal ranks; the first result is the question's own.

    A hit keeps the scores that it has there, or in the first result that has it; only ``score`` is the fused one.
    """
    hits: dict[str, Hit] = {}
    scores: dict[str, float] = defaultdict(float)
    for number, result in enumerate(results):
        for rank, hit in enumerate(result.hits, 1):
            hits.setdefault(hit.passage.id, hit)
            scores[hit.passage.id] += (other if number else 1.0) / (K + rank)
    fused = SearchResult()
    fused.CopyFrom(results[0])
    del fused.hits[:]
    for passage in sorted(scores, key=lambda each: -scores[each])[:top_k]:
        fused.hits.append(hits[passage])
        fused.hits[-1].score = scores[passage]
    return fused
