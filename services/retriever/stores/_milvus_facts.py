"""What a filter can ask of a document, as short facts, and a filter as a condition over them.

Milvus' own conditions over JSON compare and coerce in ways that differ between its releases and from the filter
language (null, lists, true and 1). So each value of the metadata is kept as a fact, a hash of its path, type and
value, in an array: a condition then holds nothing but hashes, and no text of a caller ever reaches Milvus' parser.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any

from services.retriever.filters import COLUMNS, MAX_DEPTH, And, AnyOf, Compare, Exists, Filter, Not, Or, Scalar

MAX_FACTS = 4096  # that an array in Milvus holds
TRUE, FALSE = "(id >= 0)", "(id < 0)"
ORDER: Mapping[str, Callable[[Any, Any], bool]] = {
    "$gt": lambda value, than: bool(value > than),
    "$gte": lambda value, than: bool(value >= than),
    "$lt": lambda value, than: bool(value < than),
    "$lte": lambda value, than: bool(value <= than),
}

Fact = tuple[str, str, str]  # path, kind, value
Hash = Callable[..., str]


def facts(name: str, title: str, metadata: str) -> Iterator[Fact]:
    """Each value at each path, and each path that is there."""
    for path, value in (("document_id", name), ("title", title)):
        yield (f"${path}", "s", value)
    for path, value in paths(json.loads(metadata or "{}")):
        yield (path, "there", "")
        for each in values(value):
            yield (path, *typed(each))


def paths(metadata: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
    """Every path that a filter's key can name, with what is there; ``a.b`` is b inside a, or the key ``a.b``."""
    for key in metadata:
        if "." in key:
            yield key, metadata[key]
    yield from nested(metadata, (), 1)


def nested(inside: Mapping[str, Any], above: tuple[str, ...], depth: int) -> Iterator[tuple[str, Any]]:
    """The paths of keys without a dot."""
    for key, value in inside.items():
        if "." in key:
            continue
        path = (*above, key)
        yield ".".join(path), value
        if isinstance(value, Mapping) and depth < MAX_DEPTH:
            yield from nested(value, path, depth + 1)


def values(value: object) -> list[Scalar]:
    """The value, or those of a list; objects and lists in it are none."""
    found: Sequence[Any] = value if isinstance(value, list) else [value]
    return [each for each in found if each is None or isinstance(each, str | int | float)]


def typed(value: Scalar) -> tuple[str, str]:
    """A value so that only equal ones of one kind are equal: 1 is 1.0, but neither true nor "1"."""
    if value is None:
        return "null", ""
    if isinstance(value, bool):
        return "b", str(value)
    if isinstance(value, str):
        return "s", value
    whole = int(value) if isinstance(value, float) and value.is_integer() else value
    return "n", repr(whole)


def condition(chosen: Filter, hashed: Hash, resolved: Callable[[Compare], str]) -> str:
    """The filter in Milvus' words; ``resolved`` gives the condition for an order, which facts cannot say."""
    match chosen:
        case And(parts):
            return joined([condition(part, hashed, resolved) for part in parts], " and ", TRUE)
        case Or(parts):
            return joined([condition(part, hashed, resolved) for part in parts], " or ", FALSE)
        case Not(part):
            return f"(not {condition(part, hashed, resolved)})"
        case Exists(key):
            return TRUE if key[0] in COLUMNS and len(key) == 1 else any_fact([hashed(*there(key))])
        case AnyOf(key, accepted):
            return any_fact([hashed(*fact) for fact in wanted(key, accepted)])
        case Compare():
            return resolved(chosen)


def wanted(key: tuple[str, ...], accepted: Iterable[Scalar]) -> list[Fact]:
    """The facts of which one must be there."""
    if len(key) == 1 and key[0] in COLUMNS:
        return [(f"${key[0]}", "s", value) for value in accepted if isinstance(value, str)]
    return [(".".join(key), *typed(value)) for value in accepted]


def there(key: tuple[str, ...]) -> Fact:
    """The fact that a key is there."""
    return (".".join(key), "there", "")


def any_fact(hashes: Sequence[str]) -> str:
    """At least one of these facts."""
    return f"array_contains_any(facts, {json.dumps(sorted(hashes))})" if hashes else FALSE


def joined(parts: Sequence[str], connective: str, none: str) -> str:
    """Several conditions as one."""
    return f"({connective.join(parts)})" if parts else none


def stands(asked: Compare, name: str, title: str, metadata: str) -> bool:
    """Whether a document's value, or one of a list's, is of the operand's kind and stands so to it."""
    path = ".".join(asked.key)
    columns = {"document_id": name, "title": title}
    if path in columns:
        found: list[Scalar] = [columns[path]]
    else:
        found = [each for at, value in paths(json.loads(metadata or "{}")) if at == path for each in values(value)]
    text = isinstance(asked.value, str)
    alike = [
        each
        for each in found
        if (isinstance(each, str) if text else isinstance(each, int | float) and not isinstance(each, bool))
    ]
    return any(ORDER[asked.operator](each, asked.value) for each in alike)
