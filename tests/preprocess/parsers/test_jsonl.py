"""JSONL gives a document a line, and a bad line spoils no other."""

import orjson
import pytest

from ragline.errors import InvalidRequest
from services.preprocess.parsers import Parsed, Parts, Rejected
from services.preprocess.parsers.jsonl import load


def parse(text: str | bytes) -> list[Parsed | Rejected]:
    return load(Parts()).parse(text if isinstance(text, bytes) else text.encode(), "x.jsonl")


def test_fields() -> None:
    line = {"_id": 7, "title": "T", "text": "a\u2028b", "metadata": {"k": 1}, "lang": "en", "nested": {"x": 1}}
    [found] = parse(orjson.dumps(line))
    assert isinstance(found, Parsed)
    assert (found.id, found.title, found.text) == ("7", "T", "a\u2028b")
    assert found.metadata == {"k": 1, "lang": "en"}


def test_bad_lines_are_rejected_with_their_numbers() -> None:
    found = parse(
        '{"text": "one", "id": "a"}\n'
        "{bad\n"
        "\n"
        '{"id": "b"}\n'
        '"just a string"\n'
        '{"text": 3}\n'
        '{"text": " "}\n'
        '{"text": "x", "metadata": []}\n'
        '{"text": "x", "id": {}}\n'
        '{"text": "x", "title": 1}\n'
        '{"text": "lone \\ud800"}\n'
        '{"text": "two", "id": "c"}'
    )
    assert [each.text for each in found if isinstance(each, Parsed)] == ["one", "two"]
    rejected = {each.line: each for each in found if isinstance(each, Rejected)}
    assert sorted(rejected) == [2, 4, 5, 6, 7, 8, 9, 10, 11]
    assert rejected[4].id == "b"
    assert all(f"Line {line}" in each.reason for line, each in rejected.items())
    assert "metadata" in rejected[8].reason


def test_an_array() -> None:
    found = parse('[{"text": "a"}, {"text": ""}, 3]')
    assert [type(each) for each in found] == [Parsed, Rejected, Rejected]


def test_one_object_over_several_lines() -> None:
    [found] = parse('{\n "text": "a",\n "id": "x"\n}')
    assert isinstance(found, Parsed)


@pytest.mark.parametrize("text", ['[{"text": "a"}, {"te', "[]", ""])
def test_nothing_in_it(text: str) -> None:
    with pytest.raises(InvalidRequest):
        parse(text)


def test_deep_nesting_is_a_rejected_line() -> None:
    found = parse('{"text": ' + "[" * 100_000 + '\n{"text": "fine"}')
    assert [type(each) for each in found] == [Rejected, Parsed]


def test_a_text_that_is_markdown_has_headings() -> None:
    [found] = parse(orjson.dumps({"text": "# One\n\nText.\n\n## Two\n\n**bold** text."}))
    assert isinstance(found, Parsed)
    assert [heading.text for heading in found.headings] == ["One", "Two"]
