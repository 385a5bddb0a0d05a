"""HTTP by hand, for requests that no client library would send."""

from __future__ import annotations

import json
import re
import socket
from dataclasses import dataclass
from typing import Any

from tests.servers.nginx import HOST

TIMEOUT_S = 60.0
LENGTH = re.compile(rb"content-length: (\d+)", re.IGNORECASE)


@dataclass(frozen=True)
class Said:
    """What came back."""

    raw: bytes

    @property
    def status(self) -> int:
        """The status of the first answer."""
        return int(self.raw.split(b" ", 2)[1])

    @property
    def head(self) -> str:
        """Its status line and headers."""
        return self.raw.partition(b"\r\n\r\n")[0].decode("latin-1")

    @property
    def problem(self) -> dict[str, Any]:
        """Its body."""
        found: dict[str, Any] = json.loads(self.raw.partition(b"\r\n\r\n")[2])
        return found


def say(port: int, request: bytes) -> Said:
    """Send bytes and read until the answer is whole or the connection ends."""
    said = b""
    with socket.create_connection((HOST, port), timeout=TIMEOUT_S) as connection:
        connection.sendall(request)
        while not whole(said):
            try:
                chunk = connection.recv(65_536)
            except ConnectionResetError:
                break
            if not chunk:
                break
            said += chunk
    return Said(said)


def whole(said: bytes) -> bool:
    """Whether an answer that says how long it is has come."""
    head, found, body = said.partition(b"\r\n\r\n")
    length = LENGTH.search(head)
    return bool(found) and length is not None and len(body) >= int(length[1])
