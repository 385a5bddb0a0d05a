"""What stands between browser and all-in-one in tests: passes everything on, and does what a bad line does."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import httpx

from tests.suite import free_ports

HOP = {"connection", "transfer-encoding", "content-length", "content-encoding", "date", "server"}
HELD_S = 60.0


@dataclass
class Fault:
    """What happens to requests for a path: refused at once, or held or cut once ``after`` went by.

    ``events`` come in place of the answer: what a model may write, and the default one never does.
    """

    path: str
    status: int = 0
    body: dict[str, Any] = field(default_factory=dict)
    headers: dict[str, str] = field(default_factory=dict)
    after: bytes = b""
    events: list[tuple[str, dict[str, Any]]] = field(default_factory=list)
    cut: bool = False
    times: int = 1
    reached: threading.Event = field(default_factory=threading.Event)
    release: threading.Event = field(default_factory=threading.Event)


class Door(ThreadingHTTPServer):
    """Passes requests on to ``upstream``; a context manager that ends it."""

    daemon_threads = True
    request_queue_size = 64

    def __init__(self, upstream: str) -> None:
        (port,) = free_ports(1)
        super().__init__(("127.0.0.1", port), Handler)
        self.url = f"http://127.0.0.1:{port}"
        self.faults: list[Fault] = []
        self.asked: list[tuple[str, str, bytes]] = []
        # A connection that is kept may be closed by the other side in the moment in which it is used again.
        fresh = httpx.Limits(max_keepalive_connections=0)
        self.client = httpx.Client(base_url=upstream, timeout=HELD_S, trust_env=False, limits=fresh)

    @contextmanager
    def fault(self, fault: Fault) -> Iterator[Fault]:
        """Have it inside the block."""
        self.faults.append(fault)
        try:
            yield fault
        finally:
            fault.release.set()
            if fault in self.faults:
                self.faults.remove(fault)

    def take(self, path: str) -> Fault | None:
        """The fault for a path, used up as often as it says."""
        for fault in self.faults:
            if path.partition("?")[0] == fault.path and fault.times:
                fault.times -= 1
                return fault
        return None

    def sent(self, path: str) -> list[dict[str, Any]]:
        """The JSON bodies that the page sent to a path."""
        return [json.loads(body) for _, asked, body in self.asked if asked.partition("?")[0] == path]

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A browser that leaves is no failure of the door."""


class Handler(BaseHTTPRequestHandler):
    """One request."""

    protocol_version = "HTTP/1.1"
    server: Door

    def pass_on(self) -> None:
        """To the all-in-one and back, or what the fault says."""
        body = self.rfile.read(int(self.headers.get("content-length") or 0))
        self.server.asked.append((self.command, self.path, body))
        fault = self.server.take(self.path)
        if fault is not None and fault.status:
            self.refuse(fault)
            return
        if fault is not None and fault.events:
            self.begin(200, {"content-type": "text/event-stream"})
            sent = (f"event: {name}\ndata: {json.dumps(data)}\n\n" for name, data in fault.events)
            self.spoil("".join(sent).encode(), fault)
            return
        headers = {name: value for name, value in self.headers.items() if name.lower() not in HOP | {"host"}}
        headers["accept-encoding"] = "identity"
        with self.server.client.stream(self.command, self.path, headers=headers, content=body or None) as answer:
            kept = (
                {"cache-control": "max-age=600"} if self.path.startswith("/web/") else {}
            )  # saves seconds of tests
            self.begin(answer.status_code, {k: v for k, v in answer.headers.items() if k not in HOP} | kept)
            if fault is None:
                for chunk in answer.iter_raw():
                    self.wfile.write(chunk)
            else:
                self.spoil(b"".join(answer.iter_raw()), fault)

    def begin(self, status: int, headers: dict[str, str]) -> None:
        """The head of an answer that ends with the connection."""
        self.close_connection = True
        self.send_response(status)
        for name, value in {**headers, "connection": "close"}.items():
            self.send_header(name, value)
        self.end_headers()

    def refuse(self, fault: Fault) -> None:
        """A problem document in place of an answer."""
        self.begin(fault.status, {"content-type": "application/problem+json", **fault.headers})
        self.wfile.write(json.dumps({"type": "about:blank", "status": fault.status, **fault.body}).encode())

    def spoil(self, whole: bytes, fault: Fault) -> None:
        """Stop once the marker went by: for ever, or until the test lets it go on."""
        end = whole.find(b"\n\n", whole.index(fault.after)) + 2
        self.wfile.write(whole[:end])
        self.wfile.flush()
        fault.reached.set()
        if not fault.cut:
            fault.release.wait(HELD_S)
            self.wfile.write(whole[end:])

    def log_message(self, format: str, *arguments: Any) -> None:  # noqa: A002 - its name there
        """Say nothing."""

    do_GET = do_POST = do_DELETE = do_HEAD = do_OPTIONS = pass_on  # noqa: N815 - names that the base class calls


@contextmanager
def opened(upstream: str) -> Iterator[Door]:
    """A door that serves."""
    door = Door(upstream)
    thread = threading.Thread(target=door.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)
    thread.start()
    try:
        yield door
    finally:
        door.shutdown()
        door.server_close()
        door.client.close()
