"""What a line may hold, what is wrong with one that does not, and what its result looks like."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ragline.errors import InvalidRequest
from services.generator.batches import lines
from services.generator.batches.lines import Answer

GOOD = {"custom_id": "q1", "method": "POST", "url": "/v1/generate", "body": {"query": "x"}}


def test_a_request_is_read() -> None:
    assert lines.parse(3, json.dumps(GOOD).encode()) == lines.Line(3, "q1", "generate", {"query": "x"})


@pytest.mark.parametrize("route", ["generate", "retrieve", "embed"])
@pytest.mark.parametrize("prefix", ["", "/v1"])
def test_id_and_method_may_be_left_out(route: str, prefix: str) -> None:
    read = lines.parse(1, json.dumps({"url": f"{prefix}/{route}", "body": {}}).encode())
    assert (read.custom_id, read.route, read.body) == (None, route, {})


@pytest.mark.parametrize(
    ("change", "field", "words"),
    [
        ({"method": "GET"}, "method", ["POST"]),
        ({"method": None}, "method", ["POST"]),
        ({"url": "/v1/rerank"}, "url", ["/v1/generate", "/v1/retrieve", "/v1/embed"]),
        ({"url": ["/v1/embed"]}, "url", ["/v1/embed"]),
        ({"body": "x"}, "body", ["object"]),
        ({"body": {"query": "x", "stream": True}}, "body.stream", ["stream"]),
        ({"custom_id": ""}, "custom_id", ["1 to 512"]),
        ({"custom_id": "x" * 513}, "custom_id", ["1 to 512"]),
        ({"custom_id": 7}, "custom_id", ["text"]),
        ({"colour": "red"}, "colour", ["colour", "custom_id"]),
    ],
)
def test_a_line_that_is_wrong_says_where(change: dict[str, Any], field: str, words: list[str]) -> None:
    with pytest.raises(InvalidRequest) as caught:
        lines.parse(1, json.dumps({**GOOD, **change}).encode())
    assert caught.value.errors[0]["field"] == field
    assert all(word in caught.value.detail for word in words)


@pytest.mark.parametrize("raw", [b"nonsense", b"[]", b"7", b"{", b'{"url": NaN}', b"\xff", b"[" * 2000])
def test_what_is_no_object_is_refused(raw: bytes) -> None:
    with pytest.raises(InvalidRequest):
        lines.parse(1, raw)
    assert lines.id_of(raw) is None


def test_bodies_nest_no_deeper_than_those_of_the_routes() -> None:
    nested = b'{"url": "/embed", "body": {"input": ' + b"[" * 100 + b"]" * 100 + b"}}"
    with pytest.raises(InvalidRequest, match="nested"):
        lines.parse(1, nested)


@given(st.binary(max_size=100))
def test_no_bytes_crash(raw: bytes) -> None:
    lines.id_of(raw)
    with pytest.raises(InvalidRequest):
        lines.parse(1, raw)


@given(custom_id=st.text(), status=st.sampled_from([200, 400, 503]), content=st.dictionaries(st.text(), st.text()))
def test_a_result_is_one_line_and_can_be_read(custom_id: str, status: int, content: dict[str, str]) -> None:
    made = lines.result(7, custom_id, Answer(status, json.dumps(content, indent=1).encode()))
    assert made.raw.count(b"\n") == 1
    assert lines.read_result(made.raw[:-1]) == made
    told = json.loads(made.raw)
    assert told["body" if status == 200 else "error"] == content
    assert (told["custom_id"], told["line"], told["status"]) == (custom_id, 7, status)


def test_what_a_route_answered_is_kept_byte_by_byte() -> None:
    content = b'{"x":1.10,  "y":0.30000001}'
    assert content in lines.result(1, None, Answer(200, content)).raw
