"""What senders may say of a document: ids, collections and metadata, at the doors and inside files alike."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

import orjson

COLLECTION = r"^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$"
DOCUMENT_ID = r"^[^\x00-\x1f]{1,512}$"
MAX_METADATA_BYTES = 16 * 1024


def id_fault(document_id: str) -> str:
    """What is wrong with an id; empty if nothing."""
    if not re.fullmatch(DOCUMENT_ID[1:-1], document_id):
        return "an id has 1 to 512 characters and no control characters"
    if document_id in {".", ".."}:
        return "an id is not . or .., which clients take out of a URL"
    return "" if document_id.strip() else "an id holds more than spaces"


def metadata_fault(metadata: Mapping[str, Any]) -> str:
    """What is wrong with metadata; empty if nothing. Filters need it flat."""
    for name, value in metadata.items():
        if not is_plain(value):
            return f"{name[:100]!r} must hold a string, number, boolean, null or list of strings"
    if len(orjson.dumps(metadata)) > MAX_METADATA_BYTES:
        return f"metadata is larger than {MAX_METADATA_BYTES} bytes"
    return ""


def is_plain(value: Any) -> bool:
    """Whether one entry of metadata is of a kind that can be filtered by."""
    if isinstance(value, list):
        return all(isinstance(item, str) for item in value)
    return value is None or isinstance(value, str | int | float | bool)
