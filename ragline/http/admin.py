"""Lets only those in who run the service: with a token whoever has it, without one only this machine."""

from __future__ import annotations

import hmac
from collections.abc import Mapping
from ipaddress import IPv6Address, ip_address
from urllib.parse import urlsplit

from fastapi import Request
from pydantic import SecretStr

from ragline.errors import Forbidden, Unauthenticated

PASSED_ON = ("forwarded", "x-forwarded-for", "x-real-ip", "via")
LOCAL_NAMES = ("localhost", "ip6-localhost")


class AdminDoor:
    """A dependency of routes. ``setting`` is the name of the token's; ``what`` is what it is wanted for."""

    def __init__(self, token: SecretStr | None, setting: str, what: str) -> None:
        self.token = token
        self.setting = setting
        self.what = what

    async def __call__(self, request: Request) -> None:
        """Raise Unauthenticated or Forbidden for anybody else."""
        if self.token is None:
            if not is_local(request.client.host if request.client else "", request.headers):
                raise Forbidden(f"{self.what} from this machine only; set {self.setting} to do it from elsewhere.")
            return
        kind, _, given = request.headers.get("authorization", "").partition(" ")
        wanted = self.token.get_secret_value().encode()
        if kind.lower() != "bearer" or not hmac.compare_digest(given.strip().encode(), wanted):
            raise Unauthenticated(f"Send the token of {self.setting} as Authorization: Bearer.")


def is_local(client: str, headers: Mapping[str, str]) -> bool:
    """Whether a request was made on this machine, and not by a proxy or a web page for someone else.

    What a proxy says of where a request comes from is not trusted: that it says anything is reason enough.
    A page of another site may send requests from a browser here; these carry its Origin, or a Host that is no
    name of this machine.
    """
    if not loopback(client) or any(name in headers for name in PASSED_ON):
        return False
    hosts = [urlsplit(f"//{headers.get('host', '')}").hostname or ""]
    if "origin" in headers:
        hosts.append(urlsplit(headers["origin"]).hostname or "")
    return all(host in LOCAL_NAMES or loopback(host) for host in hosts)


def loopback(address: str) -> bool:
    """Whether this is an address of the machine itself."""
    try:
        parsed = ip_address(address)
    except ValueError:
        return False
    mapped = parsed.ipv4_mapped if isinstance(parsed, IPv6Address) else None
    return (mapped or parsed).is_loopback
