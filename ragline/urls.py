"""Reads the URLs that choose where state is kept: ``sqlite:///abs/path.db?max_mb=64``, ``memory://``."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import parse_qsl, unquote, urlsplit

from ragline.settings import SettingsError


@dataclass(frozen=True)
class Location:
    """A URL taken apart; ``options`` are its query parameters, still text."""

    url: str
    scheme: str
    path: str
    options: dict[str, str]

    def file(self) -> Path:
        """The file that the URL names: absolute after three slashes, else relative to the working folder.

        Raises SettingsError if it names none.
        """
        if not self.path.strip("/"):
            raise SettingsError(f"{shown(self.url)!r} names no file; write {self.scheme}://folder/file.db.")
        return Path(self.path).expanduser()


def parse(url: str, known: tuple[str, ...]) -> Location:
    """Take a URL apart; raises SettingsError unless its scheme is one of ``known``."""
    try:
        parts = urlsplit(url)
    except ValueError as error:
        raise SettingsError(
            f"{shown(url)!r} is no URL ({error}); write special characters as %5B and the like."
        ) from error
    if parts.scheme not in known:
        schemes = ", ".join(f"{scheme}://" for scheme in known)
        raise SettingsError(f"{shown(url)!r} begins with none of the schemes known here: {schemes}.")
    if parts.fragment:
        raise SettingsError(f"{shown(url)!r} has a '#', which ends a URL's path; write it as %23.")
    pairs = parse_qsl(parts.query, keep_blank_values=True)
    options = dict(pairs)
    if len(options) < len(pairs):
        raise SettingsError(f"{shown(url)!r} gives an option twice.")
    return Location(url, parts.scheme, unquote(parts.netloc + parts.path), options)


def shown(url: str) -> str:
    """A URL as it may be shown: without the login that it may hold."""
    return re.sub(r"(?<=//).*@", "…@", url)
