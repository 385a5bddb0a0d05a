"""Passages, citations and answers as the doors send them: plain JSON objects."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

import orjson

from ragline.v1.passage_pb2 import Passage
from services.generator.checks.citations import Citation
from services.generator.events import Cited, Done, Event, Passages, Spent, Token
from services.generator.guards._masking import BLANK
from services.generator.summaries.kept import Attributed, Progress, Summary
from services.generator.summaries.kept import Event as Summing


def event(made: Event) -> tuple[str, Mapping[str, Any]]:
    """A typed server-sent event: its name and its data."""
    match made:
        case Passages():
            return "passages", {"passages": [passage(each.passage, each.score) for each in made.ranked]}
        case Token():
            return "token", {"text": made.text}
        case Cited():
            return "citation", citation(made.citation)
        case Spent():
            return "usage", asdict(made.usage)
        case Done():
            return "done", answer(made)


def answer(done: Done) -> dict[str, Any]:
    """The whole response of /generate."""
    outcome = done.outcome
    body: dict[str, Any] = {
        "id": done.id,
        "answer": outcome.answer,
        "citations": [citation(each) for each in outcome.citations],
        "abstained": outcome.abstained,
        "degraded": list(outcome.degraded),
        "usage": asdict(outcome.usage),
        "timings_ms": dict(done.timings_ms),
        "generation": done.generation,
        "cached": done.cached,
        "model": outcome.model,
        "prompt": outcome.prompt,
        "finish": outcome.finish,
    }
    optional = {"query": done.query, "session_id": done.session_id, "like": done.like}
    body |= {name: value for name, value in optional.items() if value}
    if outcome.pointers:
        body["pointers"] = {pointer: list(markers) for pointer, markers in outcome.pointers.items()}
    if outcome.unsupported:
        body["unsupported"] = [asdict(each) for each in outcome.unsupported]
    if done.findings:
        body["findings"] = [asdict(each) for each in done.findings]
    return body if outcome.explain is None else {**body, "explain": outcome.explain}


def citation(made: Citation) -> dict[str, Any]:
    """A citation; ``page`` only where the document has pages, ``masked`` only where letters of the quote are."""
    body = {name: value for name, value in asdict(made).items() if name != "page" or value is not None}
    return {**body, "masked": True} if BLANK in made.quote else body


def passage(found: Passage, score: float) -> dict[str, Any]:
    """A passage as /retrieve returns it."""
    body = {
        "id": found.id,
        "document_id": found.document_id,
        "title": found.title,
        "text": found.text,
        "score": score,
        "start": found.start,
        "end": found.end,
        "metadata": orjson.loads(found.metadata_json or "{}"),
    }
    return {**body, "page": found.page} if found.page else body


def summarizing(made: Summing) -> tuple[str, Mapping[str, Any]]:
    """A typed server-sent event of a summary: its name and its data."""
    match made:
        case Progress():
            documents = [asdict(each) for each in made.documents]
            return "progress", {"documents": documents, "done": made.done, "parts": made.parts}
        case Token():
            return "token", {"text": made.text}
        case Attributed():
            return "citation", attributed(made)
        case Summary():
            return "done", summary(made)


def summary(made: Summary) -> dict[str, Any]:
    """The whole response of /summarize."""
    body: dict[str, Any] = {
        "summary": made.summary,
        "citations": [attributed(each) for each in made.citations],
        "documents": [asdict(each) for each in made.documents],
        "usage": asdict(made.usage),
        "timings_ms": dict(made.timings_ms),
        "model": made.model,
        "degraded": list(made.degraded),
        "finish": made.finish,
        "cached": made.cached,
        "abstained": made.abstained,
    }
    if made.findings:
        body["findings"] = [asdict(each) for each in made.findings]
    return body


def attributed(made: Attributed) -> dict[str, Any]:
    """A citation of a summary; ``masked`` only where letters of the quote are."""
    return {**asdict(made), "masked": True} if BLANK in made.quote else asdict(made)
