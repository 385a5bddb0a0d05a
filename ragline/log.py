"""Sets up the log: one line an event on stderr, ours and the libraries' in the same shape."""

from __future__ import annotations

import logging
import sys
from typing import Any, TextIO

import orjson
import structlog
from structlog.stdlib import ProcessorFormatter
from structlog.typing import EventDict, Processor, WrappedLogger

FIRST = ("ts", "level", "event", "logger", "request_id")
# These tell each request or each frame at info; our own access line says it once.
CHATTY = ("asyncio", "grpc", "httpcore", "httpx", "sse_starlette", "uvicorn.error")


def configure(level: str, format: str, stream: TextIO | None = None) -> None:  # noqa: A002 - the setting's name
    """Log everything from ``level`` up; ``format`` is ``json`` for machines or ``text`` for people.

    No caller hands bodies or secrets to the log, and tracebacks come without the values of variables.
    """
    structlog.configure(
        processors=[structlog.stdlib.filter_by_level, *shared(), ProcessorFormatter.wrap_for_formatter],
        logger_factory=structlog.stdlib.LoggerFactory(),
        wrapper_class=structlog.stdlib.BoundLogger,
        cache_logger_on_first_use=False,
    )
    handler = logging.StreamHandler(stream or sys.stderr)
    handler.setFormatter(ProcessorFormatter(foreign_pre_chain=shared(), processors=rendering(format)))
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(level.upper())
    for name in CHATTY:
        logging.getLogger(name).setLevel(max(logging.WARNING, root.level))
    logging.captureWarnings(True)


def shared() -> list[Processor]:
    """What is done to every event, whoever logged it."""
    return [
        structlog.contextvars.merge_contextvars,
        structlog.stdlib.add_log_level,
        structlog.stdlib.add_logger_name,
        structlog.stdlib.PositionalArgumentsFormatter(),
        structlog.processors.TimeStamper(fmt="iso", utc=True, key="ts"),
    ]


def rendering(format: str) -> list[Processor]:  # noqa: A002 - the setting's name
    """The last steps: an event as a line."""
    if format == "text":
        plain = structlog.dev.plain_traceback
        console = structlog.dev.ConsoleRenderer(
            colors=sys.stderr.isatty(), timestamp_key="ts", exception_formatter=plain
        )
        return [ProcessorFormatter.remove_processors_meta, console]
    return [
        ProcessorFormatter.remove_processors_meta,
        structlog.processors.format_exc_info,
        ordered,
        structlog.processors.JSONRenderer(serializer=line),
    ]


def ordered(logger: WrappedLogger, method: str, event: EventDict) -> EventDict:
    """The same names first in every line, for eyes that scan a column."""
    head = {name: event[name] for name in FIRST if name in event}
    return {**head, **event}


def line(event: Any, **options: Any) -> str:
    """One line of JSON; a value that JSON does not know is written as its text."""
    try:
        return orjson.dumps(event, default=str, option=orjson.OPT_NON_STR_KEYS).decode()
    except TypeError:  # a lone surrogate in a string, or an integer of more than 64 bits
        plain = {
            str(name): str(value).encode("utf-8", "backslashreplace").decode() for name, value in event.items()
        }
        return orjson.dumps(plain).decode()
