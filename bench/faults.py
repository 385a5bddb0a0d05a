"""What clients of /generate see when the server of the LLM fails: each fault, injected before a real server."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from tests.generator.outages import ALONE, FIRST, HIDDEN, LATE, SHOWN, Lineup, Outage, Seen, outage
from tests.servers.faults import NONE, Fault
from tests.servers.llama import LlamaServer

DEADLINE_S = 60.0
LINEUPS = {
    "one endpoint": ALONE,
    "a second endpoint": Lineup(second=True),
    "another model": Lineup(spare=True),
}
FAULTS = (NONE, Fault("delay", seconds=0.5), *HIDDEN, *SHOWN)
SAYS = {
    "none": "none",
    "delay": "answers half a second late",
    "dropped": "closes the connection at once",
    "busy": "429, Retry-After: 60",
    "broken": "500",
    "denied": "401",
    "page": "200 with a web page",
    "garbage": "200 with broken JSON",
    "hang": "says nothing",
    "cut": "connection reset after {} tokens",
    "unfinished": "orderly end after {} tokens, no finish_reason",
    "stalled": "silence after {} tokens",
}


@dataclass(frozen=True)
class Line:
    """What one fault looked like, in each line-up as a whole answer and as a stream."""

    fault: Fault
    seen: Sequence[tuple[Seen, Seen]]


async def measure(server: LlamaServer) -> list[Line]:
    """Every fault in every line-up."""
    columns = [await column(server, lineup) for lineup in LINEUPS.values()]
    return [Line(fault, seen) for fault, *seen in zip(FAULTS, *columns, strict=True)]


async def column(server: LlamaServer, lineup: Lineup) -> list[tuple[Seen, Seen]]:
    """Every fault in one line-up."""
    async with outage(server, lineup) as made:
        await made.warm()
        return [await both(made, fault) for fault in FAULTS]


async def both(made: Outage, fault: Fault) -> tuple[Seen, Seen]:
    """A fault as the client of a whole answer and that of a stream see it."""
    return await made.whole(fault, DEADLINE_S), await made.stream(fault, DEADLINE_S)


def table(lines: Sequence[Line]) -> str:
    """All of it as Markdown."""
    heads = [f"{name}: {kind}" for name in LINEUPS for kind in ("whole", "stream")]
    rows = [
        " | ".join([named(line.fault), *(shown(seen) for pair in line.seen for seen in pair)]) for line in lines
    ]
    head = " | ".join(["what the server does", *heads])
    return "\n".join(f"| {row} |" for row in (head, " | ".join(["---"] * (1 + len(heads))), *rows))


def named(fault: Fault) -> str:
    """What the server does."""
    return SAYS[fault.kind].format(fault.events)


def shown(seen: Seen) -> str:
    """What the client saw, in a few words."""
    if seen.end == "answer":
        failed = f", degraded: {', '.join(seen.degraded)}" if seen.degraded else ""
        return f"answer by {seen.model}{failed}"
    if seen.end == "error":
        return f"{1 if seen.said == FIRST else 'some'} sentence, then error {seen.body['status']}"
    return f"status {seen.end}"


def holds(lines: Sequence[Line]) -> bool:
    """Whether no client saw half an answer as a whole one, nor any failure before a sentence was shown."""
    for line in lines:
        after = line.fault.kind in {"cut", "unfinished", "stalled"} and line.fault.events == LATE
        for whole, stream in line.seen:
            if whole.end != "answer" or FIRST not in whole.said or stream.end != ("error" if after else "answer"):
                return False
            if stream.end == "answer" and stream.said != stream.body["answer"]:
                return False
    return True
