"""Reads many documents from one file: a JSON object a line, or an array of them."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import orjson

from ragline.errors import InvalidRequest
from services.preprocess.parsers import Parsed, Parts, Rejected
from services.preprocess.parsers._decoding import decode
from services.preprocess.parsers._given import read_given
from services.preprocess.parsers._lines import short

_KNOWN = {"text", "id", "_id", "title", "metadata"}


def load(parts: Parts) -> Jsonl:
    """The JSONL parser."""
    return Jsonl()


class Jsonl:
    """Reads ``{"text", "id"?, "title"?, "metadata"?}``; other plain fields join the metadata."""

    def parse(self, data: bytes, name: str) -> list[Parsed | Rejected]:
        """A document for each object; a bad line is a Rejected with its number, and the others go in."""
        text = decode(data)
        found = [_document(line, value) for line, value in _values(text)]
        if not found:
            raise InvalidRequest("There is no document in this JSON.")
        return found


def _document(line: int, value: object) -> Parsed | Rejected:
    if isinstance(value, _Fault):
        return Rejected(line, None, f"Line {line} is no JSON: {value.reason}.")
    if not isinstance(value, dict):
        return Rejected(line, None, f'Line {line} is no object: each line is {{"text": …, "id"?, "title"?, …}}.')
    id_ = _id(value)
    reason = _fault(value)
    if reason:
        return Rejected(line, id_, f"Line {line}: {reason}.")
    given = read_given(value["text"])
    extra = {key: field for key, field in value.items() if key not in _KNOWN and _is_plain(field)}
    metadata = {**extra, **given.metadata, **(value.get("metadata") or {})}
    title = short(value.get("title") or "") or given.title
    return replace(given, id=id_, title=title, metadata=metadata)


class _Fault:
    """Why a line could not be read."""

    def __init__(self, error: orjson.JSONDecodeError) -> None:
        self.reason = error.msg


def _values(text: str) -> Iterator[tuple[int, object]]:
    """The values with their line numbers, or, in an array, with their numbers in it."""
    start = text.lstrip()[:1]
    whole = _parsed(text) if start == "[" or (start == "{" and "\n" not in text.strip()) else None
    if isinstance(whole, list):
        yield from enumerate(whole, start=1)
        return
    lines = [(number, line) for number, line in enumerate(text.split("\n"), start=1) if line.strip()]
    values = [(number, _parsed(line)) for number, line in lines]
    if start == "[":
        raise InvalidRequest(
            f"The JSON array is broken: {whole.reason if isinstance(whole, _Fault) else 'no array'}."
        )
    if all(isinstance(value, _Fault) for _, value in values):
        spread = _parsed(text)  # one object over several lines
        yield from [(1, spread)] if isinstance(spread, dict) else values
        return
    yield from values


def _parsed(text: str) -> object:
    try:
        return orjson.loads(text)
    except orjson.JSONDecodeError as error:
        return _Fault(error)


def _id(value: dict[str, Any]) -> str | None:
    for key in ("id", "_id"):
        found = value.get(key)
        if isinstance(found, str | int) and not isinstance(found, bool) and str(found).strip():
            return str(found)
    return None


def _fault(value: dict[str, Any]) -> str:
    """What is wrong with a document's fields; empty if nothing."""
    text = value.get("text")
    if not isinstance(text, str):
        return '"text" is missing' if text is None else '"text" is no string'
    if not text.strip():
        return '"text" is empty'
    for key in ("id", "_id"):
        found = value.get(key)
        if found is not None and (isinstance(found, bool) or not isinstance(found, str | int)):
            return f'"{key}" is neither a string nor a number'
    if not isinstance(value.get("title"), str | None):
        return '"title" is no string'
    if not isinstance(value.get("metadata"), dict | None):
        return '"metadata" is no object'
    return ""


def _is_plain(field: object) -> bool:
    """Whether a field can be filtered by."""
    if isinstance(field, list):
        return all(isinstance(item, str | int | float | bool) for item in field)
    return isinstance(field, str | int | float | bool)
