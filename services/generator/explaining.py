"""Says how an answer came about: the ranks and scores of each stage, the prompt, the chance, what was dropped."""

from __future__ import annotations

import math
from dataclasses import asdict
from typing import Any

from ragline.highlights import highlights
from services.generator.checks.checking import Checked, Checker
from services.generator.checks.pieces import own
from services.generator.events import Question, Ranked
from services.generator.prompt import Prompt
from services.generator.ranking import Evidence, Ranking


def explanation(
    question: Question, ranking: Ranking, held: Evidence, ask: Prompt, checker: Checker, abstain_below: float
) -> dict[str, Any]:
    """What ``explain`` returns; JSON types only."""
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
        "abstention": {**chance(held), "abstain_below": abstain_below},
        "prompt": ask.messages,
        "prompt_id": ask.id or None,
        "llm": checker.model or None,
        "claims": [claim(checker, each) for each in checker.claims],
        "dropped": checker.dropped,
        "findings": [asdict(each) for each in checker.findings],
    }


def chance(held: Evidence) -> dict[str, Any]:
    """The chance that the passages hold an answer, and what each feature adds to its log odds.

    The chance is the product of two: that the passage is among them (``found``), and that it says what is asked
    (``asked``), which is only computed from scores that are calibrated for it.
    """
    gap = held.features.gap
    terms = held.calibration.terms(held.features)
    return {
        "chance": held.chance,
        "sentence_score": held.features.sentence,
        "gap": None if math.isnan(gap) else gap,
        "signs": asdict(held.features.signs),
        "log_odds": dict(zip(("found", "asked"), terms, strict=False)),
    }


def claim(checker: Checker, checked: Checked) -> dict[str, Any]:
    """A claim of the LLM: what became of it, by which rule, and what supports it or is missing."""
    verdict = checked.verdict
    told: dict[str, Any] = {
        "text": checked.text,
        "fate": checked.fate,
        "rule": verdict.rule,
        "share": verdict.share,
        "chance": verdict.chance,
    }
    if verdict.support:
        support = verdict.support
        told |= {"passage_id": checker.passages[support.passage].id, "start": support.start, "end": support.end}
        return told | {"score": support.score, "marker": checked.marker}
    return told | {"reason": verdict.reason if checked.text == verdict.claim else ""}


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
