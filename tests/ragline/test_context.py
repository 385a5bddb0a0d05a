import asyncio
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st
from structlog.contextvars import get_contextvars

from ragline import context
from ragline.errors import TimedOut


def test_outside_of_a_request_there_is_no_id_and_no_deadline() -> None:
    assert context.request_id() == ""
    assert context.deadline() is None
    assert context.remaining_s(5) == 5


def test_a_request_has_an_id_that_the_log_carries() -> None:
    with context.bind("abc"):
        assert context.request_id() == "abc"
        assert get_contextvars()["request_id"] == "abc"
    assert context.request_id() == ""
    assert "request_id" not in get_contextvars()


def test_an_id_is_made_where_none_came_and_kept_inside() -> None:
    with context.bind() as made, context.bind() as inner:
        assert made == inner
        assert context.accepted_id(made) == made
    with context.bind() as other:
        assert other != made


def test_the_earlier_deadline_holds() -> None:
    before = time.monotonic()
    with context.bind(timeout_s=10):
        outer = context.deadline()
        with context.bind(timeout_s=100):
            assert context.deadline() == outer
        with context.bind():
            assert context.deadline() == outer
        with context.bind(timeout_s=1):
            inner = context.deadline()
            assert inner is not None
            assert before + 1 <= inner <= time.monotonic() + 1
            assert 0 < context.remaining_s(99) <= 1
        assert context.deadline() == outer
    assert context.deadline() is None


def test_a_deadline_that_passed_is_an_error() -> None:
    with context.bind(timeout_s=-1), pytest.raises(TimedOut):
        context.remaining_s(5)


async def test_requests_side_by_side_do_not_mix() -> None:
    bound = asyncio.Barrier(3)

    async def one(name: str) -> str:
        with context.bind(name):
            await bound.wait()
            return context.request_id()

    assert await asyncio.gather(*(one(name) for name in "abc")) == ["a", "b", "c"]


@pytest.mark.parametrize("given_id", [None, "", "a b", "a\n", "x" * 129, "ü", '{"a":1}'])
def test_an_id_that_could_forge_a_log_line_is_not_taken(given_id: str | None) -> None:
    assert context.accepted_id(given_id) is None


@given(st.from_regex(r"[A-Za-z0-9._-]{1,128}", fullmatch=True))
def test_a_plain_id_is_taken(given_id: str) -> None:
    assert context.accepted_id(given_id) == given_id
