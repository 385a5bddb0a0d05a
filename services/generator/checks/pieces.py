"""Asks the reranker about sentences as spans of the passages that they stand in, whose token vectors are kept."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence

from ragline.v1 import retriever_pb2
from ragline.v1.reranker_pb2 import Candidate
from services.generator.checks.evidence import Sentence, heading
from services.generator.events import Ranked
from services.generator.sources import Scores


class Pieces:
    """The candidates to send for some sentences, and which of the answer's scores is whose.

    Each passage is one candidate, exactly as it was embedded, with its sentences as spans. A sentence of a
    neighbour that the passage was widened with was embedded elsewhere, so it is a candidate of its own.
    """

    def __init__(self, sentences: Sequence[Sentence], best: Sequence[Ranked]) -> None:
        self.candidates: list[Candidate] = []
        self.places: list[tuple[int, int | None]] = []  # a sentence's candidate, and which span of it
        whole: dict[int, int] = {}
        counts: dict[int, int] = defaultdict(int)
        for each in sentences:
            hit = best[each.passage].hit
            begin, end = own(hit)
            if not begin <= each.begin <= each.end <= end:
                self.places.append((len(self.candidates), None))
                text = hit.passage.text[each.begin : each.end]
                self.candidates.append(Candidate(text=heading(hit.passage, text)))
                continue
            at = whole.get(each.passage)
            if at is None:
                at = whole[each.passage] = len(self.candidates)
                self.candidates.append(Candidate(text=heading(hit.passage, hit.passage.text[begin:end])))
            # The heading stands before it, what comes before `begin` does not.
            shift = len(self.candidates[at].text) - end
            self.candidates[at].spans.extend([each.begin + shift, each.end + shift])
            self.places.append((at, counts[at]))
            counts[at] += 1

    def scores(self, made: Scores) -> list[float] | None:
        """The raw score of each sentence; None where the scorer gave none for spans."""
        for candidate, entry in zip(self.candidates, made.entries, strict=True):
            if 2 * len(entry.spans) != len(candidate.spans):
                return None
        return [made.entries[at].raw if span is None else made.entries[at].spans[span] for at, span in self.places]


def own(hit: retriever_pb2.Hit) -> tuple[int, int]:
    """Where in the hit's text the passage itself stands: all of it, unless it was widened."""
    return (hit.own_start, hit.own_end) if hit.own_end else (0, len(hit.passage.text))
