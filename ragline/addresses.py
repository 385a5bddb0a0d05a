"""Addresses that a process listens on."""

from __future__ import annotations

import os
import socket

from ragline.settings import SettingsError

BACKLOG = 2048


def listening(host: str, port: int, setting: str) -> socket.socket:
    """A socket that listens (port 0: on a free one); raises SettingsError that names address and setting."""
    try:
        family = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0][0]
        return socket.create_server((host, port), family=family, backlog=BACKLOG)
    except OSError as error:
        known = isinstance(error, socket.gaierror) or not error.errno
        reason = str(error.strerror) if known else os.strerror(error.errno or 0)
        raise SettingsError(
            f"Cannot listen on {joined(host, port)}: {reason.lower()}; set {setting} to another."
        ) from None


def joined(host: str, port: int) -> str:
    """``host:port``, with the brackets that IPv6 needs."""
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def split(address: str) -> tuple[str, int]:
    """The host and the port in ``host:port``; raises SettingsError where it is none."""
    host, _, port = address.rpartition(":")
    if not host or not port.isdigit():
        raise SettingsError(f"{address!r} is no address; write host:port, such as 127.0.0.1:50051.")
    return host.strip("[]"), int(port)
