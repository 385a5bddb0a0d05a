"""Speaks to every replica behind a name, so that what is asked for holds for all of them or for none."""

from __future__ import annotations

import socket
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any, TypeVar
from urllib.parse import urlsplit

import httpx
import orjson

from ragline.addresses import joined
from ragline.cli.client import Failure, problem_sentence

AT_ONCE = 16
CONNECT_S = 10.0
ANSWER_S = 3600.0  # loading a large model takes its time; the replica has a limit of its own

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Replica:
    """One address of a service, at ``url``; ``host`` is the name that it was found by."""

    url: str
    host: str
    token: str = ""

    def ask(self, method: str, path: str, body: Mapping[str, Any] | None = None) -> dict[str, Any]:
        """The JSON answer; raises Failure."""
        headers = {"Authorization": f"Bearer {self.token}"} if self.token else {}
        extensions = {}
        if self.url.startswith("https:"):
            headers["Host"], extensions["sni_hostname"] = self.host, self.host.rpartition(":")[0]
        try:
            with httpx.Client(timeout=httpx.Timeout(ANSWER_S, connect=CONNECT_S), trust_env=False) as client:
                url, content = f"{self.url}{path}", None if body is None else orjson.dumps(body)
                kind = {} if body is None else {"Content-Type": "application/json"}
                answer = client.request(
                    method, url, content=content, headers=headers | kind, extensions=extensions
                )
        except httpx.TransportError as error:
            raise Failure(f"It does not answer ({type(error).__name__}).") from error
        if answer.is_error:
            raise Failure(problem_sentence(answer), answer.status_code)
        found: dict[str, Any] = orjson.loads(answer.content)
        return found


def find(addresses: str, token: str) -> list[Replica]:
    """A replica for each address that each of the names has, as in ``http://a:8003,http://b:8003``.

    Of a name with IPv4 and IPv6 addresses the former count: they are of the same replicas. Raises Failure for a
    name that has none.
    """
    replicas = [replica for address in addresses.split(",") for replica in resolved(address.strip(), token)]
    return list(dict.fromkeys(replicas))


def resolved(address: str, token: str) -> list[Replica]:
    """The replicas behind one name."""
    parts = urlsplit(address if "//" in address else f"http://{address}")
    try:
        port = parts.port or (443 if parts.scheme == "https" else 80)
    except ValueError:
        port = 0
    if parts.scheme not in {"http", "https"} or not parts.hostname or not port:
        raise Failure(f"{address!r} is no address; write it as http://host:port.")
    try:
        found = socket.getaddrinfo(parts.hostname, port, type=socket.SOCK_STREAM)
    except socket.gaierror as error:
        raise Failure(f"There is no address for {parts.hostname}: {error.strerror}.") from error
    hosts = sorted({str(entry[4][0]) for entry in found})
    chosen = [host for host in hosts if ":" not in host] or hosts
    named = joined(parts.hostname, port)
    return [Replica(f"{parts.scheme}://{joined(host, port)}", named, token) for host in chosen]


def each(replicas: Sequence[Replica], work: Callable[[Replica], T]) -> list[T | Failure]:
    """What ``work`` gives for each, side by side; a Failure where it raised one."""

    def one(replica: Replica) -> T | Failure:
        try:
            return work(replica)
        except Failure as failure:
            return failure

    with ThreadPoolExecutor(min(AT_ONCE, len(replicas))) as threads:
        return list(threads.map(one, replicas))


def failures(replicas: Sequence[Replica], results: Sequence[object]) -> list[str]:
    """A sentence for each that failed, which names the replica."""
    pairs = zip(replicas, results, strict=True)
    return [f"{replica.url}: {result}" for replica, result in pairs if isinstance(result, Failure)]
