"""Content hashes: what was sent, how it is cut and embedded, and what was said about it."""

from __future__ import annotations

import hashlib

from services.preprocess.jobs import NewDocument


def pipeline_hash(*fingerprints: str) -> str:
    """One short hash of everything that decides how bytes become passages and vectors."""
    return digest(*fingerprints)


def content_hash(document: NewDocument, pipeline: str) -> str:
    """``<sha256 of the bytes>:<pipeline>:<what was said>``; equal hashes need no work."""
    said = digest(document.title, document.metadata_json, document.name, document.media_type)
    return f"{document.sha256}:{pipeline}:{said}"


def sha256_of(content_hash: str, pipeline: str) -> str:
    """The hash of the bytes that were sent, or "" when this pipeline would make something else of them."""
    parts = content_hash.split(":")
    return parts[0] if len(parts) == 3 and parts[1] == pipeline else ""


def digest(*parts: str) -> str:
    """The first 16 hex digits of a hash over the parts, whose borders count."""
    whole = hashlib.sha256()
    for part in parts:
        data = part.encode()
        whole.update(len(data).to_bytes(8, "little"))
        whole.update(data)
    return whole.hexdigest()[:16]
