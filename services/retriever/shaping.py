"""Makes of what was found what is shown: texts fetched, repeats collapsed, order varied, hits widened."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np

from ragline.v1.passage_pb2 import Passage
from services.retriever import collapse, diversity, widening
from services.retriever.asking import Hit, Options, Request, Result
from services.retriever.keeping import Found
from services.retriever.stores import View

FETCHED_AT_ONCE = 10_000  # rows; SQLite takes 32,766 values in a statement


class Shaping:
    """The steps after fusion, for one request and view; all of it computes or reads, so it runs in the pool.

    Repeats go first, so that the reranker's room is for what differs. Then the reranker, which is not asked
    here; then the choice of unlike passages, by its scores; the neighbours come last, as no score is theirs.
    """

    def __init__(self, view: View, request: Request, options: Options) -> None:
        self.view = view
        self.request = request
        self.options = options
        self.pool = max(request.top_k, options.rerank_pool if request.rerank else 0)

    @property
    def limit(self) -> int:
        """How many candidates have to come out of fusion."""
        request = self.request
        if request.collapse or request.diversity:
            return max(self.pool, self.options.candidates)
        spare = request.top_k * 2 * request.neighbours  # a hit takes in at most so many others
        return max(self.pool, min(self.options.candidates, request.top_k + spare))

    def __call__(self, found: Sequence[Found]) -> list[Result]:
        """What is shown of each query, or what the reranker is to order first."""
        passages = self.passages(found)
        return [Result(self.shown(each, passages), each.statistics, each.how) for each in found]

    def passages(self, found: Sequence[Found]) -> Mapping[int, Passage]:
        """The passages of all queries, each read once."""
        rows = list({one.id: None for each in found for one in each.fused})
        if len(rows) <= FETCHED_AT_ONCE:
            return self.view.fetch(rows)
        result: dict[int, Passage] = {}
        for start in range(0, len(rows), FETCHED_AT_ONCE):
            result.update(self.view.fetch(rows[start : start + FETCHED_AT_ONCE]))
        return result

    def shown(self, found: Found, passages: Mapping[int, Passage]) -> Sequence[Hit]:
        """One query's hits; what went while it was looked for is left out."""
        hits = [
            Hit(passages[one.id], one.score, one, place)
            for place, one in enumerate(found.fused, 1)
            if one.id in passages
        ]
        if self.request.collapse:
            hits = self.collapsed(hits)
        return hits[: self.pool] if self.request.rerank else self.finished(hits)

    def finished(self, hits: Sequence[Hit]) -> Sequence[Hit]:
        """The last steps, which come after the reranker where one is asked."""
        request = self.request
        if request.diversity:
            hits = self.varied(hits)
        if request.neighbours:
            hits = widening.survivors(hits, request.neighbours, request.top_k)
            hits = widening.widened(hits, self.view.around([hit.fused.id for hit in hits], request.neighbours))
        return hits[: request.top_k]

    def collapsed(self, hits: Sequence[Hit]) -> list[Hit]:
        """The hits that repeat no better one, each with the ids of those that repeat it."""
        vectors = self.view.vectors(rows_of(hits)) if hits else None
        texts = [hit.passage.text for hit in hits]
        options = self.options
        leaders = collapse.leaders(texts, vectors, options.collapse_overlap, options.collapse_cosine)
        repeats: dict[int, list[str]] = defaultdict(list)
        for place, leader in enumerate(leaders):
            if leader != place:
                repeats[leader].append(hits[place].passage.id)
        return [
            replace(hit, duplicates=tuple(repeats.get(place, ())))
            for place, hit in enumerate(hits)
            if leaders[place] == place
        ]

    def varied(self, hits: Sequence[Hit]) -> list[Hit]:
        """The hits in the order of maximal marginal relevance."""
        if not hits:
            return []
        count = len(hits) if self.request.neighbours else self.request.top_k
        # Chances are close together near 0 and 1, so what the scorer itself said tells more apart.
        scores = [hit.reranked.raw if hit.reranked else hit.score for hit in hits]
        order = diversity.ordered(scores, self.view.vectors(rows_of(hits)), self.request.diversity, count)
        return [replace(hits[place], diversity_score=score) for place, score in order]


def rows_of(hits: Sequence[Hit]) -> np.ndarray[tuple[int], np.dtype[np.int64]]:
    """The rows of the hits."""
    return np.array([hit.fused.id for hit in hits], dtype=np.int64)
