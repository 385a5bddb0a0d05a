"""A filter as a condition over the table of documents: every value and path is a parameter, never its text."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from services.retriever.filters import And, AnyOf, Compare, Exists, Filter, Not, Or, Scalar

Condition = tuple[str, list[Scalar]]

COLUMNS = {"document_id": "name", "title": "title"}
OPERATORS = {"$gt": ">", "$gte": ">=", "$lt": "<", "$lte": "<="}
# Each value of a list at that path, or the one value that is there; an object's values are none.
EACH = (
    "EXISTS (SELECT 1 FROM json_each(documents.metadata, ?) AS each "
    "WHERE json_type(documents.metadata, ?) <> 'object' AND {})"
)


def condition(chosen: Filter) -> Condition:
    """The condition and its parameters, in order."""
    match chosen:
        case And(parts):
            made = joined(parts, " AND ", "1")
        case Or(parts):
            made = joined(parts, " OR ", "0")
        case Not(part):
            text, values = condition(part)
            made = f"NOT {text}", values
        case Exists(key):
            made = exists(key)
        case AnyOf(key, accepted):
            made = any_of(key, accepted)
        case Compare(key, operator, value):
            made = compared(key, OPERATORS[operator], value)
    return made


def joined(parts: Sequence[Filter], connective: str, none: str) -> Condition:
    """Several conditions as one."""
    conditions = [condition(part) for part in parts]
    text = connective.join(text for text, _ in conditions) or none
    return f"({text})", [value for _, values in conditions for value in values]


def exists(key: tuple[str, ...]) -> Condition:
    """Whether the key is there."""
    if len(key) == 1 and key[0] in COLUMNS:
        return "(1)", []
    return either(key, lambda where: ("(json_type(documents.metadata, ?) IS NOT NULL)", [where]))


def any_of(key: tuple[str, ...], values: Sequence[Scalar]) -> Condition:
    """Equality with one of ``values``, type for type."""
    if len(key) == 1 and key[0] in COLUMNS:
        texts: list[Scalar] = [value for value in values if isinstance(value, str)]
        return f"({COLUMNS[key[0]]} IN ({marks(texts)}))", texts
    strings: list[Scalar] = [value for value in values if isinstance(value, str)]
    numbers: list[Scalar] = [v for v in values if isinstance(v, int | float) and not isinstance(v, bool)]
    literals = {None: "null", True: "true", False: "false"}
    types: list[Scalar] = [literals[v] for v in values if v is None or isinstance(v, bool)]
    tests = [
        f"each.type = 'text' AND each.value IN ({marks(strings)})",
        f"each.type IN ('integer', 'real') AND each.value IN ({marks(numbers)})",
        f"each.type IN ({marks(types)})",
    ]
    text = f"({EACH.format('(' + ' OR '.join(tests) + ')')})"
    return either(key, lambda where: (text, [where, where, *strings, *numbers, *types]))


def compared(key: tuple[str, ...], operator: str, value: str | int | float) -> Condition:
    """An order between values of one type; strings by code point, which suits ISO dates."""
    if len(key) == 1 and key[0] in COLUMNS:
        return (f"({COLUMNS[key[0]]} {operator} ?)", [value]) if isinstance(value, str) else ("(0)", [])
    types = "('text')" if isinstance(value, str) else "('integer', 'real')"
    text = f"({EACH.format(f'each.type IN {types} AND each.value {operator} ?')})"
    return either(key, lambda where: (text, [where, where, value]))


def either(key: tuple[str, ...], test: Callable[[str], Condition]) -> Condition:
    """The test of the value inside objects (``a`` ``b``) or of that whose name has the dot in it (``a.b``)."""
    found = [test(path(key))] if len(key) == 1 else [test(path(key)), test(path((".".join(key),)))]
    return f"({' OR '.join(text for text, _ in found)})", [value for _, values in found for value in values]


def marks(values: Sequence[Scalar]) -> str:
    """A question mark a value."""
    return ", ".join("?" * len(values))


def path(key: tuple[str, ...]) -> str:
    """SQLite's JSON path; no part holds a quotation mark, which the parser saw to."""
    return "$" + "".join(f'."{part}"' for part in key)
