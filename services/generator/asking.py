"""Checks what the doors were sent and fills in the defaults; the limits and their names are the settings'."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import orjson

from ragline.errors import InvalidRequest, TooLarge
from services.generator.events import Question

COLLECTION = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")
MAX_TEMPERATURE = 2.0
MAX_SCORER_CHARS = 100


@dataclass(frozen=True)
class Limits:
    """See the settings ``max_query_chars``, ``max_filter_chars``, ``max_top_k`` and ``max_answer_tokens``."""

    query_chars: int
    filter_chars: int
    top_k: int
    answer_tokens: int
    default_top_k: int = 5
    default_tokens: int = 256


def question(given: Question, limits: Limits) -> Question:
    """The question with defaults for a ``top_k`` or ``max_tokens`` of 0.

    Raises InvalidRequest or TooLarge naming the field and the setting of its limit.
    """
    query = given.query.strip()
    if not query:
        raise InvalidRequest("query is empty; ask something.", field="query")
    if len(query) > limits.query_chars:
        raise TooLarge(
            f"query has {len(query)} characters, over the {limits.query_chars} of GENERATOR_MAX_QUERY_CHARS; "
            "ask a shorter question.",
            field="query",
        )
    if len(given.filter_json) > limits.filter_chars:
        raise TooLarge(f"filter is over the {limits.filter_chars} of GENERATOR_MAX_FILTER_CHARS.", field="filter")
    top_k = within(
        "top_k", given.top_k or min(limits.default_top_k, limits.top_k), limits.top_k, "GENERATOR_MAX_TOP_K"
    )
    if not 0 <= given.temperature <= MAX_TEMPERATURE:  # also false for nan
        raise InvalidRequest("temperature must be from 0 to 2.", field="temperature")
    return Question(
        tenant=given.tenant,
        collection=collection(given.collection),
        query=query,
        top_k=top_k,
        max_tokens=answer_tokens(given.max_tokens, limits),
        temperature=given.temperature,
        filter_json=given.filter_json,
        explain=given.explain,
        scorer=scorer(given.scorer),
        retrieval=given.retrieval,
    )


def scorer(name: str) -> str:
    """A scorer's name, if it can be one; the reranker knows which are loaded."""
    if len(name) > MAX_SCORER_CHARS:
        raise InvalidRequest(f"scorer is longer than {MAX_SCORER_CHARS} characters.", field="scorer")
    return name


def answer_tokens(given: int, limits: Limits) -> int:
    """``max_tokens``, or its default for 0."""
    chosen = given or min(limits.default_tokens, limits.answer_tokens)
    return within("max_tokens", chosen, limits.answer_tokens, "GENERATOR_MAX_ANSWER_TOKENS")


def collection(name: str) -> str:
    """A collection's name, if it can be one."""
    if not COLLECTION.fullmatch(name):
        raise InvalidRequest(
            "collection must be 1 to 64 letters, digits, dots, dashes and underscores and begin with one of the "
            "first two.",
            field="collection",
        )
    return name


def within(field: str, value: int, limit: int, setting: str) -> int:
    """A number from 1 to ``limit``."""
    if not 1 <= value <= limit:
        raise InvalidRequest(f"{field} is {value}; it must be from 1 to {limit} ({setting}).", field=field)
    return value


def filter_json(given: Mapping[str, Any] | None) -> str:
    """A filter as the retriever takes it; it knows what a filter may say."""
    return orjson.dumps(given).decode() if given else ""
