"""Checks what the doors were sent and fills in the defaults; the limits and their names are the settings'."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, Literal

import orjson

from ragline.errors import InvalidRequest, TooLarge
from services.generator.events import Policy, Question, Turn

COLLECTION = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")
SESSION = re.compile(r"[A-Za-z0-9_-]{1,100}")
MAX_TEMPERATURE = 2.0
MAX_NAME_CHARS = 100


@dataclass(frozen=True)
class Limits:
    """See the settings ``max_query_chars``, ``max_filter_chars``, ``max_top_k`` and so on."""

    query_chars: int
    filter_chars: int
    top_k: int
    answer_tokens: int
    default_top_k: int = 5
    default_tokens: int = 256
    schema_chars: int = 16_384
    expand: int = 4
    turns: int = 10
    turn_chars: int = 16_384


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
    for field in ("scorer", "llm", "prompt"):
        name(field, getattr(given, field))
    if given.session_id and given.turns:
        raise InvalidRequest("send session_id or turns, not both: a session has its turns.", field="turns")
    if given.session_id:
        session(given.session_id)
    if len(given.schema_json) > limits.schema_chars:
        raise TooLarge(f"schema is over the {limits.schema_chars} of GENERATOR_MAX_SCHEMA_CHARS.", field="schema")
    if not 0 <= given.expand <= limits.expand:
        raise InvalidRequest(
            f"expand is {given.expand}; it must be from 0 to {limits.expand} (GENERATOR_MAX_EXPAND).",
            field="expand",
        )
    return replace(
        given,
        collection=collection(given.collection),
        query=query,
        top_k=top_k,
        max_tokens=answer_tokens(given.max_tokens, limits),
        turns=turns(given.turns, limits),
    )


def name(field: str, given: str) -> None:
    """Raise InvalidRequest for what cannot be a name; who is asked for it knows which there are."""
    if len(given) > MAX_NAME_CHARS:
        raise InvalidRequest(f"{field} is longer than {MAX_NAME_CHARS} characters.", field=field)


def session(given: str) -> str:
    """A session's id, if it can be one."""
    if not SESSION.fullmatch(given):
        raise InvalidRequest(
            "session_id must be 1 to 100 letters, digits, dashes and underscores.", field="session_id"
        )
    return given


def turns(given: tuple[Turn, ...], limits: Limits) -> tuple[Turn, ...]:
    """The latest of what was said before, as many as may be."""
    latest = given[-limits.turns :]
    longest = max((len(each.question) + len(each.answer) for each in latest), default=0)
    if longest > limits.turn_chars:
        raise TooLarge(
            f"A turn has {longest} characters, over the {limits.turn_chars} of GENERATOR_MAX_TURN_CHARS.",
            field="turns",
        )
    return latest


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


def policy(given: str) -> Policy | Literal[""]:
    """What becomes of unsupported sentences; raises InvalidRequest for what is no policy."""
    match given:
        case "" | "drop" | "flag":
            return given
    raise InvalidRequest("unsupported must be drop or flag.", field="unsupported")


def as_json(given: Mapping[str, Any] | None) -> str:
    """A filter or a schema as it is passed on; who reads it knows what it may say."""
    return orjson.dumps(given).decode() if given else ""
