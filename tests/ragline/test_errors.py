import json

import grpc
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ragline.errors import (
    BY_GRPC,
    BY_HTTP,
    MAX_EXTRA_BYTES,
    TABLE,
    Internal,
    InvalidRequest,
    NotFound,
    Overloaded,
    RaglineError,
    Refused,
    Unavailable,
    from_grpc,
)


def test_the_table_reads_both_ways() -> None:
    assert len(BY_GRPC) == len(BY_HTTP) == len(TABLE)


@pytest.mark.parametrize("kind", TABLE)
def test_a_row_survives_the_wire(kind: type[RaglineError]) -> None:
    raised = kind("Too bad; try less.")
    got = from_grpc(raised.grpc_status, raised.detail, raised.to_bytes())
    assert type(got) is kind
    assert (got.detail, got.errors, got.retry_after_s) == (raised.detail, raised.errors, raised.retry_after_s)


@given(st.text(), st.lists(st.fixed_dictionaries({"field": st.text(), "detail": st.text()}), max_size=5))
def test_any_text_survives_the_wire(detail: str, errors: list[dict[str, str]]) -> None:
    got = from_grpc(
        grpc.StatusCode.INVALID_ARGUMENT, detail, InvalidRequest(detail, errors=tuple(errors)).to_bytes()
    )
    assert list(got.errors) == errors


def test_what_goes_beside_a_status_is_bounded() -> None:
    errors = tuple({"field": f"documents[{n}].text", "detail": "Field required"} for n in range(10_000))
    extra = InvalidRequest("Much is missing.", errors=errors).to_bytes()
    assert 0 < len(extra) <= MAX_EXTRA_BYTES
    assert from_grpc(grpc.StatusCode.INVALID_ARGUMENT, "", extra).errors[0] == errors[0]
    one = InvalidRequest("Long.", field="x" * 100_000)
    assert json.loads(one.to_bytes())["errors"] == []


@pytest.mark.parametrize(
    "extra", [b"\xff", b"{}", b"[]", b"null", b'{"errors": [1], "retry_after_s": null}', b"1"]
)
def test_extra_bytes_that_are_not_ours_are_ignored(extra: bytes) -> None:
    got = from_grpc(grpc.StatusCode.NOT_FOUND, "No such collection.", extra)
    assert isinstance(got, NotFound)
    assert got.errors == ()


@pytest.mark.parametrize("status", [grpc.StatusCode.UNKNOWN, grpc.StatusCode.DATA_LOSS])
def test_the_text_of_a_status_outside_the_table_is_withheld(status: grpc.StatusCode) -> None:
    got = from_grpc(status, "Exception: password=hunter2")
    assert isinstance(got, Internal)
    assert "hunter2" not in got.detail


def test_a_status_without_text_has_a_title() -> None:
    assert from_grpc(grpc.StatusCode.NOT_FOUND, "").detail == "Not found"


def test_the_problem_document() -> None:
    problem = InvalidRequest("The query is empty; send some words.", field="query").problem("abc")
    assert problem == {
        "type": "about:blank",
        "title": "Invalid request",
        "status": 400,
        "detail": "The query is empty; send some words.",
        "instance": "abc",
        "errors": [{"field": "query", "detail": "The query is empty; send some words."}],
    }
    assert "instance" not in NotFound("No.").problem()


@pytest.mark.parametrize("kind", [Overloaded, Unavailable])
def test_what_may_pass_says_when_to_come_back(kind: type[Overloaded] | type[Unavailable]) -> None:
    assert kind("Busy.").retry_after_s == 1.0
    assert kind("Busy.", retry_after_s=7).retry_after_s == 7


def test_what_is_refused_names_the_guard_across_the_wire() -> None:
    raised = Refused("The question asks for what is not to be asked here.", field="query", guard="topics")
    got = from_grpc(raised.grpc_status, raised.detail, raised.to_bytes())
    assert isinstance(got, Refused)
    assert (got.guard, got.errors[0]["field"]) == ("topics", "query")
    assert Refused("No.").guard == ""
