"""Sends equal requests as one: queries are embedded and searched as a batch, texts embedded as one."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import orjson

from services.generator.batches.doors import Door
from services.generator.batches.lines import Answer, Line

MOST = 256  # queries or texts in one request; both services take more

Body = dict[str, Any]


def units(lines: Sequence[Line]) -> list[list[Line]]:
    """The lines, those together that one request can answer."""
    alone: list[list[Line]] = []
    together: dict[bytes, list[list[Line]]] = {}
    for line in lines:
        key, size = key_of(line)
        if not key or size > MOST:
            alone.append([line])
            continue
        groups = together.setdefault(key, [[]])
        if sum(key_of(each)[1] for each in groups[-1]) + size > MOST:
            groups.append([])
        groups[-1].append(line)
    return alone + [group for groups in together.values() for group in groups]


def key_of(line: Line) -> tuple[bytes, int]:
    """What is the same of all lines that go together, and how many of ``MOST`` it takes; empty: it goes alone."""
    body = line.body
    if line.route == "retrieve" and isinstance(body.get("query"), str) and "queries" not in body:
        return packed("retrieve", body, "query"), 1
    if line.route == "embed" and (texts := texts_of(body)) and isinstance(body.get("explain", False), bool):
        return packed("embed", body, "input"), len(texts)
    return b"", 1


def packed(route: str, body: Mapping[str, Any], own: str) -> bytes:
    """A body without the field that is each line's own."""
    rest = {name: value for name, value in body.items() if name != own}
    return orjson.dumps([route, rest], option=orjson.OPT_SORT_KEYS)


def texts_of(body: Mapping[str, Any]) -> list[str]:
    """The texts of an embed line; none where it holds something else."""
    given = body.get("input")
    texts = [given] if isinstance(given, str) else given if isinstance(given, list) else []
    return texts if all(isinstance(text, str) and text for text in texts) else []


async def ask(door: Door, unit: Sequence[Line], request_id: Callable[[Line], str]) -> list[Answer]:
    """The answer to each line of a unit, as its route would give it to the line alone.

    Where the joint request is refused each line is sent alone, so that only those at fault are refused.
    """
    first = unit[0]
    if len(unit) > 1:
        body, split = (queries, found) if first.route == "retrieve" else (texts, vectors)
        answer = await door.ask(first.route, body(unit), request_id(first))
        if answer.ok:
            return [
                Answer(answer.status, orjson.dumps(each)) for each in split(unit, orjson.loads(answer.content))
            ]
        if answer.again or answer.busy:
            return [answer] * len(unit)
    return [await door.ask(line.route, line.body, request_id(line)) for line in unit]


def queries(unit: Sequence[Line]) -> Body:
    """The body that asks for all lines at once."""
    rest = {name: value for name, value in unit[0].body.items() if name != "query"}
    return {**rest, "queries": [line.body["query"] for line in unit]}


def found(unit: Sequence[Line], answer: Body) -> Iterator[Body]:
    """What each query found; generation, times and what was degraded are those of all."""
    common = {name: value for name, value in answer.items() if name != "results"}
    for result in answer["results"]:
        yield {**result, **common}


def texts(unit: Sequence[Line]) -> Body:
    """The body that embeds the texts of all lines; it asks for each text's share of the tokens."""
    return {**unit[0].body, "input": [text for line in unit for text in texts_of(line.body)], "explain": True}


def vectors(unit: Sequence[Line], answer: Body) -> Iterator[Body]:
    """The vectors of each line's texts, and what is told of these texts alone."""
    at = 0
    for line in unit:
        end = at + len(texts_of(line.body))
        tokens = answer["explain"]["tokens"][at:end]
        body = {
            "embeddings": answer["embeddings"][at:end],
            "model": answer["model"],
            "dimensions": answer["dimensions"],
            "usage": {"tokens": sum(tokens)},
        }
        if truncated := [n - at for n in answer.get("truncated", ()) if at <= n < end]:
            body["truncated"] = truncated
        if line.body.get("explain"):
            body["explain"] = {"tokens": tokens}
        yield body
        at = end
