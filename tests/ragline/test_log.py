import io
import logging
import warnings
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

import orjson
import pytest
import structlog

from ragline import context, log


@pytest.fixture(autouse=True)
def as_before() -> Iterator[None]:
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    levels = {name: logging.getLogger(name).level for name in log.CHATTY}
    yield
    root.handlers[:] = handlers
    root.setLevel(level)
    for name, before in levels.items():
        logging.getLogger(name).setLevel(before)
    logging.captureWarnings(False)
    structlog.reset_defaults()


def fail(password: str) -> None:
    raise ValueError(min(4, len(password)))


def lines(stream: io.StringIO) -> list[dict[str, Any]]:
    return [orjson.loads(line) for line in stream.getvalue().splitlines()]


def test_an_event_is_one_line_of_json_with_the_usual_names_first() -> None:
    out = io.StringIO()
    log.configure("info", "json", out)
    with context.bind("abc"):
        structlog.get_logger("lamps").info("lit", watts=40)
    (line,) = lines(out)
    assert list(line) == ["ts", "level", "event", "logger", "request_id", "watts"]
    assert (line["level"], line["event"], line["logger"], line["request_id"]) == ("info", "lit", "lamps", "abc")
    assert datetime.fromisoformat(line["ts"]).tzinfo == UTC


def test_libraries_write_the_same_lines() -> None:
    out = io.StringIO()
    log.configure("info", "json", out)
    with context.bind("abc"):
        logging.getLogger("somelib").warning("wick %s", "short")
    (line,) = lines(out)
    assert (line["event"], line["logger"], line["level"]) == ("wick short", "somelib", "warning")
    assert line["request_id"] == "abc"


def test_below_the_level_nothing_is_written() -> None:
    out = io.StringIO()
    log.configure("warning", "json", out)
    structlog.get_logger("lamps").info("lit")
    logging.getLogger("somelib").info("lit")
    assert out.getvalue() == ""


@pytest.mark.parametrize("name", log.CHATTY)
def test_chatty_libraries_are_heard_from_warning_up(name: str) -> None:
    out = io.StringIO()
    log.configure("debug", "json", out)
    logging.getLogger(name).info("GET /?token=hunter2")
    logging.getLogger(name).warning("careful")
    assert [line["event"] for line in lines(out)] == ["careful"]


def test_an_exception_stays_in_its_line_and_shows_no_variables() -> None:
    out = io.StringIO()
    log.configure("info", "json", out)
    try:
        fail("hunter2")
    except ValueError:
        structlog.get_logger("lamps").exception("crashed")
    (line,) = lines(out)
    assert "ValueError: 4" in line["exception"]
    assert line["exception"].count("hunter2") == 1  # the call above, as it stands in the source


@pytest.mark.parametrize("value", ["\ud800", 2**70, object(), {1: 2}, b"\xff", "a\nb"])
def test_any_value_gives_one_valid_line(value: object) -> None:
    out = io.StringIO()
    log.configure("info", "json", out)
    structlog.get_logger("lamps").info("lit", value=value)
    assert lines(out)[0]["event"] == "lit"


def test_warnings_are_logged() -> None:
    out = io.StringIO()
    log.configure("info", "json", out)
    with warnings.catch_warnings():
        warnings.simplefilter("always")
        logging.captureWarnings(False)
        logging.captureWarnings(True)
        warnings.warn("old wick", stacklevel=1)
    assert "old wick" in lines(out)[0]["event"]


def test_text_is_for_people() -> None:
    out = io.StringIO()
    log.configure("info", "text", out)
    structlog.get_logger("lamps").info("lit", watts=40)
    try:
        fail("dark")
    except ValueError:
        structlog.get_logger("lamps").exception("crashed")
    text = out.getvalue()
    assert "lit" in text.splitlines()[0]
    assert "watts" in text.splitlines()[0]
    assert "ValueError: 4" in text
