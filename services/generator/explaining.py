"""Says how an answer came about: the ranks and scores of each stage, the prompt, the chance, what was dropped."""

from __future__ import annotations

import math
from typing import Any

from ragline.highlights import highlights
from services.generator.checking import Checker
from services.generator.events import Question, Ranked
from services.generator.pieces import own
from services.generator.prompt import Prompt
from services.generator.ranking import Evidence, Ranking


def explanation(
    question: Question, ranking: Ranking, held: Evidence, ask: Prompt, checker: Checker, abstain_below: float
) -> dict[str, Any]:
    """What ``explain`` returns; JSON types only."""
    gap = held.features.gap
    return {
        "passages": [stages(question.query, rank, each) for rank, each in enumerate(ranking.best, 1)],
        "scorer": ranking.scorer or None,
        "sentences": [
            {
                "passage_id": checker.passages[each.passage].id,
                "start": each.start,
                "end": each.end,
                "text": each.text,
                "score": each.score,
            }
            for each in held.sentences
        ],
        "abstention": {
            "chance": held.chance,
            "abstain_below": abstain_below,
            "sentence_score": held.features.sentence,
            "gap": None if math.isnan(gap) else gap,
        },
        "prompt": ask.messages,
        "dropped": checker.dropped,
    }


def stages(query: str, rank: int, ranked: Ranked) -> dict[str, Any]:
    """A passage's rank and score at each stage; what a stage did not give is absent."""
    hit = ranked.hit
    found: dict[str, Any] = {
        "id": hit.passage.id,
        "document_id": hit.passage.document_id,
        "rank": rank,
        "score": ranked.score,
        "raw": ranked.raw,
        "retrieve_rank": ranked.place,
        "retrieve_score": hit.score,
    }
    for name in ("dense_score", "sparse_score", "dense_rank", "sparse_rank"):
        if hit.HasField(name):
            found[name] = getattr(hit, name)
    for name in ("duplicates", "neighbours"):
        if names := list(getattr(hit, name)):
            found[name] = names
    if ranked.matches:
        found["matches"] = highlights(query, hit.passage, ranked.matches, own(hit))
    return found
