"""Where a scorer's server is, what opens it, and within which bounds it is called."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import httpx
import structlog
from pydantic import BaseModel, ConfigDict, Field, SecretStr

from ragline.settings import SettingsError

log = structlog.get_logger(__name__)


class Connection(BaseModel):
    """How a server is called: how often at once, how often again, how much it may say, and what TLS trusts."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    max_concurrent: Annotated[int, Field(ge=1)] = 8
    max_waiting: Annotated[int, Field(ge=0)] = 64
    retries: Annotated[int, Field(ge=0, le=10)] = 2
    max_answer_mb: Annotated[float, Field(gt=0)] = 8.0
    verify: bool = True
    ca_file: Path | None = None
    proxy: str | None = None


@dataclass(frozen=True)
class Server:
    """Where a scorer's server is and how long it may take for one request, whatever that takes of it."""

    scorer: str
    url: str
    timeout_s: float
    headers: Mapping[str, str]

    @property
    def shown(self) -> str:
        """The address as messages have it: without the query, which may hold a key."""
        return str(httpx.URL(self.url).copy_with(query=None, fragment=None))


class Key:
    """What opens the server: given, or in a file that is read again when the key is refused."""

    def __init__(self, given: SecretStr | None, file: Path | None) -> None:
        if given is not None and file is not None:
            raise SettingsError("api_key and api_key_file are both set; keep the file.")
        self.file = file
        self.value = given.get_secret_value().strip() if given is not None else self.read()
        if not self.value and (given is not None or file is not None):
            raise SettingsError("the key is empty; set api_key_file to a file that holds it.")

    def read(self) -> str:
        """What the file holds; empty where there is no file. Raises SettingsError where it cannot be read."""
        try:
            return self.file.read_text().strip() if self.file else ""
        except (OSError, UnicodeDecodeError) as error:
            raise SettingsError(f"api_key_file cannot be read: {error}") from error

    async def changed(self, used: str) -> bool:
        """Whether there is another key by now than the one ``used``."""
        if self.file is None or self.value != used:
            return self.value != used
        try:
            value = await asyncio.to_thread(self.read)
        except SettingsError as error:
            log.warning("key cannot be read again", reason=str(error))
            return False
        self.value = value or self.value
        return self.value != used

    def headers(self) -> dict[str, str]:
        """The header that carries it."""
        return {"authorization": f"Bearer {self.value}"} if self.value else {}

    def hidden(self, text: str) -> str:
        """A text without the key: some servers repeat what they refuse."""
        return text.replace(self.value, "***") if self.value else text


def trusted(connection: Connection, url: str) -> ssl.SSLContext | bool:
    """What TLS checks a server's certificate against. Raises SettingsError for a file that is none."""
    if not connection.ca_file:
        # To read the usual authorities takes megabytes, and plain HTTP needs none.
        return connection.verify and url.startswith("https")
    try:
        return ssl.create_default_context(cafile=connection.ca_file)
    except OSError as error:
        raise SettingsError(f"ca_file {connection.ca_file} cannot be used: {error}") from error


def address(url: str, path: str) -> str:
    """``url`` as it is if it has a path, else with ``path``. Raises SettingsError where it names no server."""
    try:
        parsed = httpx.URL(url)
    except httpx.InvalidURL as error:
        raise SettingsError(f"the option url is no good: {error}") from error
    if parsed.scheme not in {"http", "https"} or not parsed.host:
        raise SettingsError(
            f"the option url must begin with http:// or https:// and name a host, not {url[:40]!r}."
        )
    if parsed.userinfo:
        raise SettingsError("the option url holds a password; use api_key_file, or headers.")
    return str(parsed if parsed.path.strip("/") else parsed.copy_with(path=path))
