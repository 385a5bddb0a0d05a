"""Reads which origins of pages may call from a browser: the setting RAGLINE_CORS_ORIGINS."""

from __future__ import annotations

from urllib.parse import urlsplit

ANY_ORIGIN = "*"


def origins(given: str) -> list[str]:
    """The origins that a setting names, separated by commas; raises ValueError for what is none."""
    named = [each.strip().rstrip("/") for each in given.split(",") if each.strip()]
    for each in named:
        parts = urlsplit(each)
        if each != ANY_ORIGIN and (
            parts.scheme not in {"http", "https"} or f"{parts.scheme}://{parts.netloc}" != each
        ):
            raise ValueError(f"{each!r} is no origin such as https://app.example.com, nor {ANY_ORIGIN}")
    return named
