"""Answers that follow a JSON schema: asked for, read, mended, checked against it, and cited leaf by leaf."""

from __future__ import annotations

import json
from collections.abc import AsyncGenerator, Iterator, Mapping
from contextlib import aclosing
from dataclasses import dataclass, replace
from typing import Any

import json_repair
import jsonschema_rs

from ragline import metrics
from ragline.errors import InvalidRequest, Refused, Unavailable
from ragline.sentences import sentences
from services.generator.checks.checking import Checker
from services.generator.checks.evidence import WORD
from services.generator.events import Cited, Finding, Question, Token, Unsupported
from services.generator.llms import LLM
from services.generator.prompt import NO_ANSWER, Prompt

# How often an LLM is asked: what it wrote first is shown to it with what is wrong.
TRIES = 2
SHOWN_CHARS = 2000
ASK = "\n\nAnswer with one JSON value that follows this JSON schema, and with nothing else:\n"
AGAIN = "\n\nYour last answer did not follow it: {fault}. It was:\n{text}"


@dataclass(frozen=True)
class Leaf:
    """A string, or a number as it is written, and its place in a JSON value: the keys and indices to it."""

    path: tuple[str | int, ...]
    text: str

    @property
    def pointer(self) -> str:
        """The place as a JSON pointer (RFC 6901)."""
        return "".join("/" + str(step).replace("~", "~0").replace("/", "~1") for step in self.path)


class Shape:
    """A schema, ready to check answers with; raises InvalidRequest for one that is none.

    Nothing is fetched for it, and its regular expressions take time linear in the text.
    """

    def __init__(self, schema_json: str) -> None:
        self.schema: Any = json.loads(schema_json)
        try:
            self.validator = jsonschema_rs.validator_for(
                self.schema, pattern_options=jsonschema_rs.RegexOptions(), offline=True, mask="the value"
            )
        except (ValueError, jsonschema_rs.ReferencingError) as error:
            reason = str(error).partition("\n")[0]
            raise InvalidRequest(f"schema is no JSON schema that can be used: {reason}", field="schema") from None
        self.fixed = frozenset(fixed(self.schema))

    def fault(self, value: Any) -> str:
        """What is wrong with a value, without what it says, which no guard has seen; empty where nothing is."""
        for error in self.validator.iter_errors(value):
            place = "".join(f"/{step}" for step in error.instance_path)
            return f"{error.message[:300]}{f' at {place}' if place else ''}"
        return ""


def fixed(schema: Any) -> Iterator[str]:
    """The strings that the schema itself gives to choose from: no passage has to say them."""
    if isinstance(schema, Mapping):
        for key, value in schema.items():
            chosen = value if key == "enum" else [value] if key == "const" else ()
            yield from (each for each in chosen if isinstance(each, str))
            yield from fixed(value)
    elif isinstance(schema, list):
        for each in schema:
            yield from fixed(each)


def allow(question: Question, llm: LLM) -> None:
    """Raise InvalidRequest for a schema that is none, or that nobody here could follow."""
    if not question.schema_json:
        return
    if llm.style == "extract":
        raise InvalidRequest(
            f"schema needs an LLM that writes, and {llm.name} copies sentences; name another as llm, set "
            "GENERATOR_LLM or its style, or leave schema out.",
            field="schema",
        )
    Shape(question.schema_json)


class Form(Checker):
    """One answer in the making that follows a schema; nothing of it is said before all of it is checked.

    A string, or a number, counts as a claim. One that no passage supports becomes null where the schema allows
    that and unsupported claims are dropped; else it stays and is noted. ``pointers`` says which markers are whose.
    """

    async def check(self, llm: LLM, ask: Prompt, question: Question) -> AsyncGenerator[Token | Cited, None]:
        """The answer as one token, then its citations. Raises Refused where the LLM cannot follow the schema."""
        if llm.style == "extract":
            raise Unavailable("No LLM that writes can be reached, and a schema needs one; ask again in a moment.")
        shape = Shape(question.schema_json)
        self.model = llm.name
        text = fault = ""
        for _ in range(TRIES):
            text = await self.written(llm, formed(ask, shape, text, fault), question)
            if NO_ANSWER in text:
                self.declined = True
                return
            value, mended, fault = read(text, shape)
            if not fault:
                break
        else:
            self.noted("refuse", "no JSON of the schema")
            raise Refused(
                f"What {llm.name} wrote does not follow the schema: {fault}. Ask for less, or another llm.",
                field="schema",
                guard="format",
            )
        if mended:
            self.noted("mask", "mended JSON")
        for event in await self.filled(value, shape):
            yield event

    async def written(self, llm: LLM, ask: Prompt, question: Question) -> str:
        """All that the LLM writes; once more without the constraint where it cannot hold to it."""
        try:
            return await self.whole(llm, ask, question)
        except InvalidRequest:
            return await self.whole(llm, replace(ask, schema=None), question)

    async def whole(self, llm: LLM, ask: Prompt, question: Question) -> str:
        """All that the LLM writes."""
        text = ""
        with self.clock.stage("generate"):
            pieces = llm.generate(ask, max_tokens=question.max_tokens, temperature=question.temperature)
            async with aclosing(pieces):
                async for piece in pieces:
                    text += piece.text
                    self.finish = piece.finish or self.finish
        return text

    async def filled(self, value: Any, shape: Shape) -> list[Token | Cited]:
        """The events of a value that follows the schema: its leaves guarded, checked and cited."""
        value = self.guard_leaves(value)
        if (self.guard and self.guard.refused) or shape.fault(value):
            self.declined = True
            return []
        claims = [each for each in leaves(value) if WORD.search(each.text) and each.text not in shape.fixed]
        reasons: dict[str, str] = {}
        for leaf in claims:
            if reason := await self.cited(leaf):
                reasons[leaf.pointer] = reason
                value = self.without(value, leaf, shape)
        if claims and len(reasons) == len(claims) and self.policy == "drop":
            self.declined = True
            return []
        said, places = written_out(value)
        token = Token(self.say(said))
        self.unsupported = [
            Unsupported(*places[pointer], reason) for pointer, reason in reasons.items() if pointer in places
        ]
        return [token, *(Cited(each) for each in self.citations)]

    async def cited(self, leaf: Leaf) -> str:
        """Cite what supports a leaf, sentence by sentence; returns the reason where something does not."""
        parts = [leaf.text[start:end] for start, end in sentences(leaf.text)] or [leaf.text]
        markers: list[str] = []
        for verdict in await self.attribution.check(parts):
            found = self.citer.cite(verdict.support) if verdict.support else None
            if found is None:
                return verdict.reason or "no passage says this"
            markers.append(found[0].marker)
        self.pointers[leaf.pointer] = tuple(dict.fromkeys(markers))
        return ""

    def without(self, value: Any, leaf: Leaf, shape: Shape) -> Any:
        """The value with null for the leaf, if the policy and the schema let it be."""
        changed = put(value, leaf.path, None)
        return changed if self.policy == "drop" and not shape.fault(changed) else value

    def guard_leaves(self, value: Any) -> Any:
        """The value as the guards let its strings be said, each seen with its key."""
        for leaf in leaves(value) if self.guard else ():
            key = f"{leaf.path[-1]}: " if leaf.path and isinstance(leaf.path[-1], str) else ""
            told, findings = self.guard(key + leaf.text) if self.guard else (leaf.text, ())
            self.findings.extend(findings)
            if findings:
                value = put(value, leaf.path, told.removeprefix(key) if told.startswith(key) else told)
        return value

    def noted(self, action: str, detail: str) -> None:
        """Count and tell what became of the format."""
        chosen: Any = action
        self.findings.append(Finding("format", "answer", chosen, detail))
        metrics.counter(
            "ragline_guard_findings", "What guards found, by what was done about it.", ("guard", "stage", "action")
        ).labels("format", "answer", action).inc()


def formed(ask: Prompt, shape: Shape, text: str, fault: str) -> Prompt:
    """The prompt with the schema, and with what was wrong the last time."""
    again = AGAIN.format(fault=fault, text=text[:SHOWN_CHARS]) if fault else ""
    return replace(ask, user=f"{ask.user}{ASK}{json.dumps(shape.schema)}{again}", schema=shape.schema)


def read(text: str, shape: Shape) -> tuple[Any, bool, str]:
    """The value that a text holds, whether it had to be mended, and what is wrong with it."""
    try:
        value = json.loads(text)
    except ValueError:
        value = json_repair.loads(text)
        if value in ("", [], {}) and not any(sign in text for sign in "[{"):
            return None, False, "it is no JSON"
        return value, True, shape.fault(value)
    return value, False, shape.fault(value)


def leaves(value: Any, path: tuple[str | int, ...] = ()) -> Iterator[Leaf]:
    """The strings and numbers of a value, in its order."""
    match value:
        case dict():
            for key, each in value.items():
                yield from leaves(each, (*path, key))
        case list():
            for at, each in enumerate(value):
                yield from leaves(each, (*path, at))
        case bool() | None:
            return
        case str():
            yield Leaf(path, value)
        case _:
            yield Leaf(path, json.dumps(value))


def put(value: Any, path: tuple[str | int, ...], leaf: Any) -> Any:
    """A copy of the value with another leaf."""
    if not path:
        return leaf
    copy: Any = dict(value) if isinstance(value, dict) else list(value)
    copy[path[0]] = put(value[path[0]], path[1:], leaf)
    return copy


def written_out(value: Any) -> tuple[str, dict[str, tuple[int, int]]]:
    """The value as JSON, and where in it each leaf stands, by its pointer."""
    pieces: list[str] = []
    places: dict[str, tuple[int, int]] = {}
    length = 0

    def add(piece: str) -> None:
        nonlocal length
        pieces.append(piece)
        length += len(piece)

    def write(each: Any, path: tuple[str | int, ...]) -> None:
        if isinstance(each, dict):
            members = [(f"{json.dumps(key, ensure_ascii=False)}: ", key, inner) for key, inner in each.items()]
        elif isinstance(each, list):
            members = [("", at, inner) for at, inner in enumerate(each)]
        else:
            begin = length
            add(json.dumps(each, ensure_ascii=False))
            places[Leaf(path, "").pointer] = begin, length
            return
        add("{" if isinstance(each, dict) else "[")
        for at, (head, step, inner) in enumerate(members):
            add(", " + head if at else head)
            write(inner, (*path, step))
        add("}" if isinstance(each, dict) else "]")

    write(value, ())
    return "".join(pieces), places
