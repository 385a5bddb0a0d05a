"""The filter language: what is read, and that each fault is named by its path."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ragline.errors import InvalidRequest
from services.retriever.filters import And, AnyOf, Compare, Exists, Not, Or, checked, parse


@pytest.mark.parametrize("text", ["", "  ", "{}", "null"])
def test_nothing_is_no_filter(text: str) -> None:
    assert parse(text) is None


def test_forms() -> None:
    assert parse('{"lang": "en"}') == AnyOf(("lang",), ("en",))
    assert parse('{"lang": ["en", null, true]}') == AnyOf(("lang",), ("en", None, True))
    assert parse('{"year": {"$gte": 2020, "$lt": 2024}}') == And(
        (Compare(("year",), "$gte", 2020), Compare(("year",), "$lt", 2024))
    )
    assert parse('{"author.name": {"$ne": "Ada"}}') == Not(AnyOf(("author", "name"), ("Ada",)))
    assert parse('{"a": {"$nin": [1]}, "b": {"$exists": false}}') == And(
        (Not(AnyOf(("a",), (1,))), Not(Exists(("b",))))
    )
    assert parse('{"$or": [{"a": 1}, {"$not": {"b": {"$eq": 2}}}]}') == Or(
        (AnyOf(("a",), (1,)), Not(AnyOf(("b",), (2,))))
    )
    assert parse('{"a": []}') == AnyOf(("a",), ())


@pytest.mark.parametrize(
    ("text", "field"),
    [
        ("[1]", "filter"),
        ("{", "filter"),
        ('{"a": NaN}', "filter"),
        ('"x"', "filter"),
        ('{"year": {"$gt": "x", "$foo": 1}}', "filter.year.$foo"),
        ('{"year": {"$gt": true}}', "filter.year.$gt"),
        ('{"year": {"$gt": [1]}}', "filter.year.$gt"),
        ('{"year": {"$in": 3}}', "filter.year.$in"),
        ('{"year": {"$exists": 1}}', "filter.year.$exists"),
        ('{"year": {}}', "filter.year"),
        ('{"year": [[1]]}', "filter.year"),
        ('{"$nor": []}', "filter.$nor"),
        ('{"$or": []}', "filter.$or"),
        ('{"$and": [{"a": 1}, 7]}', "filter.$and[1]"),
        ('{"$and": [{}]}', "filter.$and[0]"),
        ('{"$not": {"$not": 3}}', "filter.$not.$not"),
        ('{"": 1}', "filter."),
        ('{"a..b": 1}', "filter.a..b"),
        ('{"a\\"b": 1}', 'filter.a"b'),
        ('{"a\\\\b": 1}', "filter.a\\b"),
        (json.dumps({"n": 1 << 70}), "filter.n"),
    ],
)
def test_faults_are_named_by_their_path(text: str, field: str) -> None:
    with pytest.raises(InvalidRequest) as caught:
        parse(text)
    assert caught.value.errors[0]["field"] == field


def test_depth_terms_and_length_are_bounded() -> None:
    nested: dict[str, object] = {"a": 1}
    for _ in range(20):
        nested = {"$not": nested}
    with pytest.raises(InvalidRequest, match="nested"):
        checked(nested)
    with pytest.raises(InvalidRequest, match="RETRIEVER_MAX_FILTER_TERMS"):
        checked({"a": list(range(11))}, max_terms=10)
    with pytest.raises(InvalidRequest, match="characters"):
        parse(" " * 200_000 + "{}{")
    with pytest.raises(InvalidRequest):
        parse("[" * 50_000)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text() | st.sampled_from(["$and", "$or", "$gt"]), inner),
    max_leaves=20,
)


@given(JSON)
def test_anything_is_read_or_refused_with_its_path(value: object) -> None:
    fields = ["filter"]
    try:
        checked(value)
    except InvalidRequest as error:
        fields = [each["field"] for each in error.errors]
    assert all(field.startswith("filter") for field in fields)
