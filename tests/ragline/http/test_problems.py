from typing import Any

import orjson
import pytest
import structlog
from fastapi import FastAPI
from hypothesis import given
from hypothesis import strategies as st
from starlette.exceptions import HTTPException

from ragline.errors import TABLE, Internal, Overloaded, RaglineError
from ragline.http.problems import MAX_ERRORS, MEDIA_TYPE, encoded, field_name
from tests.ragline.shop import client, shop


def raising(error: Exception) -> FastAPI:
    async def do() -> None:
        raise error

    return shop(do)


async def refused(body: Any, path: str = "/documents") -> dict[str, Any]:
    async with client(shop()) as inside:
        answer = await inside.post(path, json=body)
    assert answer.status_code == 400
    assert answer.headers["content-type"] == MEDIA_TYPE
    problem: dict[str, Any] = answer.json()
    assert problem["instance"] == answer.headers["x-request-id"]
    return problem


@pytest.mark.parametrize("kind", TABLE)
async def test_each_row_becomes_its_status(kind: type[RaglineError]) -> None:
    async with client(raising(kind("It is bad; send less."))) as inside:
        answer = await inside.get("/do", headers={"x-request-id": "r1"})
    assert answer.status_code == kind.http_status
    assert answer.headers["content-type"] == MEDIA_TYPE
    assert answer.json() == {
        "type": "about:blank",
        "title": kind.title,
        "status": kind.http_status,
        "detail": "It is bad; send less.",
        "instance": "r1",
    }


@pytest.mark.parametrize(("seconds", "header"), [(0.01, "1"), (1.2, "2"), (30, "30")])
async def test_when_to_come_back_is_in_whole_seconds(seconds: float, header: str) -> None:
    async with client(raising(Overloaded("Full.", retry_after_s=seconds))) as inside:
        assert (await inside.get("/do")).headers["retry-after"] == header


async def test_a_crash_is_logged_with_its_request_and_told_to_nobody() -> None:
    with structlog.testing.capture_logs(processors=[structlog.contextvars.merge_contextvars]) as logged:
        async with client(raising(RuntimeError("password=hunter2"))) as inside:
            answer = await inside.get("/do", headers={"x-request-id": "r1"})
    assert answer.status_code == 500
    assert answer.headers["content-type"] == MEDIA_TYPE
    assert answer.json() == Internal().problem("r1")
    crash = next(line for line in logged if line["event"] == "crashed")
    assert (crash["request_id"], crash["exc_info"]) == ("r1", True)


async def test_a_limit_in_time_of_the_handlers_own_is_504() -> None:
    async with client(raising(TimeoutError())) as inside:
        answer = await inside.get("/do")
    assert answer.status_code == 504
    assert "in time" in answer.json()["detail"]


async def test_unknown_paths_and_methods_are_problems() -> None:
    async with client(shop()) as inside:
        missing = await inside.get("/nope")
        method = await inside.put("/documents")
    assert (missing.status_code, method.status_code) == (404, 405)
    assert missing.headers["content-type"] == method.headers["content-type"] == MEDIA_TYPE
    assert missing.json()["detail"] == "There is no /nope here; GET /docs lists what there is."
    assert method.json()["detail"] == "/documents does not take PUT; it takes POST."
    assert method.headers["allow"] == "POST"


async def test_the_frameworks_other_refusals_are_problems() -> None:
    async with client(raising(HTTPException(418, "short and stout"))) as inside:
        answer = await inside.get("/do")
    assert answer.status_code == 418
    assert answer.headers["content-type"] == MEDIA_TYPE
    assert answer.json()["detail"] == "short and stout"


@pytest.mark.parametrize(
    ("body", "field", "detail"),
    [
        ({}, "documents", "Field required"),
        ([], "body", "Input should be"),
        ({"documents": 3}, "documents", "Input should be a valid list"),
        ({"documents": [{"text": "a"}, {}]}, "documents[1].text", "Field required"),
        ({"documents": [{"text": 3}]}, "documents[0].text", "Input should be a valid string"),
        ({"documents": [{"text": ""}]}, "documents[0].text", "String should have at least 1 character"),
        ({"documents": [{"text": "a\0"}]}, "documents[0].text", "The text holds a NUL; leave it out."),
        ({"documents": [{"text": "a", "metadata": []}]}, "documents[0].metadata", "Input should be a valid dict"),
        ({"documents": [], "extra": 1}, "extra", "Extra inputs are not permitted"),
        ({"documents": [{"text": "a"}] * 1001}, "documents", "List should have at most 1000 items"),
        (
            {"documents": [], "input": 3},
            "input",
            "Input should be a valid string, or: Input should be a valid list",
        ),
        ({"documents": [], "input": ["a", 3]}, "input[1]", "Input should be a valid string"),
    ],
)
async def test_what_is_wrong_with_a_body_names_the_field(body: Any, field: str, detail: str) -> None:
    problem = await refused(body)
    named = {error["field"]: error["detail"] for error in problem["errors"]}
    assert named[field].startswith(detail)
    assert problem["title"] == "Invalid request"
    assert "pydantic" not in orjson.dumps(problem).decode()


async def test_a_bad_parameter_is_named() -> None:
    async with client(shop()) as inside:
        answer = await inside.get("/do", params={"n": "zero"})
    assert answer.status_code == 400
    assert [error["field"] for error in answer.json()["errors"]] == ["n"]


async def test_what_was_sent_is_not_echoed() -> None:
    problem = await refused({"documents": [{"text": "a", "x" * 10_000: "secret" * 1000}]})
    text = orjson.dumps(problem).decode()
    assert "secret" not in text
    assert len(text) < 2_000


async def test_of_many_faults_the_first_are_listed() -> None:
    problem = await refused({"documents": [{}] * 500})
    assert len(problem["errors"]) == MAX_ERRORS
    assert problem["detail"] == "documents[0].text: Field required (and 19 more)."


@pytest.mark.parametrize(
    ("body", "loc", "kind", "expected"),
    [
        ({"input": 3}, ("body", "input", "list[str]"), "list_type", "input"),
        ({"input": ["a", 3]}, ("body", "input", "list[str]", 1), "string_type", "input[1]"),
        ({"a": {"str": 1}}, ("body", "a", "str"), "string_type", "a.str"),
        ({"a": {"b": 1}}, ("body", "a", "Lamp", "watts"), "missing", "a.watts"),
        ({"a": 3}, ("body", "a", "function-after[check(), str]"), "string_type", "a"),
        ({}, ("query", "limit"), "int_parsing", "limit"),
        (None, ("body",), "missing", "body"),
        (None, (), "missing", "body"),
    ],
)
def test_members_of_a_union_are_no_fields(body: Any, loc: tuple[Any, ...], kind: str, expected: str) -> None:
    assert field_name(loc, body, kind) == expected


@given(st.text(st.characters(codec=None)))
def test_a_problem_can_hold_whatever_a_caller_wrote(text: str) -> None:
    assert encoded({"detail": text}).startswith(b'{"detail":')
