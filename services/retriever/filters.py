"""The filter language: JSON in, a checked tree out; see docs/how-to/filter.md."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ragline.errors import InvalidRequest

MAX_DEPTH = 8
MAX_TERMS = 1000  # values compared with, over the whole filter
MAX_CHARACTERS = 100_000
MAX_KEY_CHARACTERS = 256
MAX_INTEGER = (1 << 63) - 1
COLUMNS = ("document_id", "title")  # keys that are not looked up in the metadata
UNUSABLE = re.compile(r'["\\\x00-\x1f]')  # SQLite's JSON paths have no way to write these
ORDERED = ("$gt", "$gte", "$lt", "$lte")

Scalar = str | int | float | bool | None


@dataclass(frozen=True)
class AnyOf:
    """The value, or one of the values of a list, equals one of these; a number never equals a string or true."""

    key: tuple[str, ...]
    values: tuple[Scalar, ...]


@dataclass(frozen=True)
class Compare:
    """The value, or one of a list's, is of the operand's type and stands so to it."""

    key: tuple[str, ...]
    operator: str  # one of ORDERED
    value: str | int | float


@dataclass(frozen=True)
class Exists:
    """The key is there, even if its value is null."""

    key: tuple[str, ...]


@dataclass(frozen=True)
class And:
    """All hold; none of none is true."""

    parts: tuple[Filter, ...]


@dataclass(frozen=True)
class Or:
    """One at least holds."""

    parts: tuple[Filter, ...]


@dataclass(frozen=True)
class Not:
    """It does not hold."""

    part: Filter


Filter = AnyOf | Compare | Exists | And | Or | Not


def parse(text: str, *, max_terms: int = MAX_TERMS) -> Filter | None:
    """The tree of a filter given as JSON text; None for an empty one.

    Raises InvalidRequest, whose field is the path to the fault (``filter.year.$gt``).
    """
    if not text.strip():
        return None
    if len(text) > MAX_CHARACTERS:
        raise InvalidRequest(f"The filter is over {MAX_CHARACTERS:,} characters.", field="filter")
    try:
        given = json.loads(text, parse_constant=refuse_constant)
    except (ValueError, RecursionError) as error:
        raise InvalidRequest(f"The filter is no JSON: {error}.", field="filter") from None
    return checked(given, max_terms=max_terms)


def refuse_constant(name: str) -> float:
    """JSON has no NaN or Infinity, although Python reads them."""
    raise ValueError(f"{name} is no number of JSON")


def checked(given: object, *, max_terms: int = MAX_TERMS) -> Filter | None:
    """The tree of a filter given as JSON values; raises InvalidRequest as ``parse`` does."""
    if given is None or given == {}:
        return None
    return Reading(max_terms).every(given, "filter", 1)


class Reading:
    """One pass over a filter, counting the values it compares with."""

    def __init__(self, max_terms: int) -> None:
        self.max_terms = max_terms
        self.terms = 0

    def every(self, given: object, path: str, depth: int) -> Filter:
        """All conditions of an object."""
        fields = mapping(given, path)
        if depth > MAX_DEPTH:
            raise InvalidRequest(f"The filter is nested more than {MAX_DEPTH} deep.", field=path)
        parts = [self.condition(key, value, f"{path}.{key}", depth) for key, value in fields.items()]
        return parts[0] if len(parts) == 1 else And(tuple(parts))

    def condition(self, key: str, given: object, path: str, depth: int) -> Filter:
        """One entry of an object: a connective or a key with what its value must be."""
        if key in ("$and", "$or"):
            parts = tuple(
                self.every(part, f"{path}[{i}]", depth + 1) for i, part in enumerate(sequence(given, path))
            )
            if not parts:
                raise InvalidRequest(f"{key} needs at least one condition.", field=path)
            return And(parts) if key == "$and" else Or(parts)
        if key == "$not":
            return Not(self.every(given, path, depth + 1))
        if key.startswith("$"):
            raise InvalidRequest(f"{key} is no connective; there are $and, $or and $not.", field=path)
        name = named(key, path)
        if isinstance(given, Mapping):
            return self.operators(name, given, path)
        return AnyOf(name, self.values(given if isinstance(given, list) else [given], path))

    def operators(self, key: tuple[str, ...], given: Mapping[str, object], path: str) -> Filter:
        """All operators of ``{"$gte": 1, "$lt": 3}``."""
        if not given:
            raise InvalidRequest("There is no operator in {}.", field=path)
        parts = [self.operator(key, name, value, f"{path}.{name}") for name, value in given.items()]
        return parts[0] if len(parts) == 1 else And(tuple(parts))

    def operator(self, key: tuple[str, ...], name: str, given: object, path: str) -> Filter:
        """One operator with its operand."""
        if name in ORDERED:
            return Compare(key, name, self.comparable(given, path))
        readings: dict[str, Callable[[], Filter]] = {
            "$eq": lambda: AnyOf(key, self.values([given], path)),
            "$ne": lambda: Not(AnyOf(key, self.values([given], path))),
            "$in": lambda: AnyOf(key, self.values(sequence(given, path), path)),
            "$nin": lambda: Not(AnyOf(key, self.values(sequence(given, path), path))),
            "$exists": lambda: Exists(key) if truth(given, path) else Not(Exists(key)),
        }
        if name not in readings:
            known = ", ".join([*readings, *ORDERED])
            raise InvalidRequest(f"{name} is no operator; there are {known}.", field=path)
        return readings[name]()

    def values(self, given: Sequence[object], path: str) -> tuple[Scalar, ...]:
        """Values to equal: strings, numbers, booleans, null."""
        for value in given:
            self.scalar(value, path)
        return tuple(given)  # type: ignore[arg-type]  # each was just looked at

    def comparable(self, given: object, path: str) -> str | int | float:
        """A value with an order: a number or a string."""
        self.scalar(given, path)
        if isinstance(given, bool) or given is None:
            raise InvalidRequest("An order needs a number or a string.", field=path)
        assert isinstance(given, str | int | float)  # noqa: S101 - what scalar() lets through
        return given

    def scalar(self, given: object, path: str) -> None:
        """Raise unless ``given`` is a value that metadata can be compared with; counts it."""
        self.terms += 1
        if self.terms > self.max_terms:
            raise InvalidRequest(
                f"The filter compares with more than {self.max_terms} values (RETRIEVER_MAX_FILTER_TERMS).",
                field=path,
            )
        if given is not None and not isinstance(given, str | int | float):
            raise InvalidRequest("A value must be a string, a number, true, false or null.", field=path)
        if isinstance(given, int) and abs(given) > MAX_INTEGER:
            raise InvalidRequest("A whole number must fit into 64 bits.", field=path)


def named(key: str, path: str) -> tuple[str, ...]:
    """The key's parts: ``author.name`` is the key ``name`` of the object ``author``."""
    parts = tuple(key.split("."))
    if not all(parts) or len(key) > MAX_KEY_CHARACTERS or len(parts) > MAX_DEPTH or UNUSABLE.search(key):
        raise InvalidRequest(
            f"A key has 1 to {MAX_KEY_CHARACTERS} characters, no quotation mark, backslash or control character, "
            f"and at most {MAX_DEPTH} parts with a dot between them.",
            field=path,
        )
    return parts


def mapping(given: object, path: str) -> Mapping[str, Any]:
    """``given``, which must be an object."""
    if not isinstance(given, Mapping):
        raise InvalidRequest('A filter is an object such as {"lang": "en"}.', field=path)
    if not given and path != "filter":
        raise InvalidRequest("There is no condition in {}.", field=path)
    return given


def sequence(given: object, path: str) -> Sequence[Any]:
    """``given``, which must be a list."""
    if not isinstance(given, list):
        raise InvalidRequest("This needs a list.", field=path)
    return given


def truth(given: object, path: str) -> bool:
    """``given``, which must be true or false."""
    if not isinstance(given, bool):
        raise InvalidRequest("$exists needs true or false.", field=path)
    return given
