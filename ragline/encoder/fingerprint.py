"""Tells models apart by their content, so that vectors of one are never taken for another's."""

from __future__ import annotations

import contextlib
import hashlib
import json
from collections.abc import Sequence
from pathlib import Path

HASHES = ".ragline-hashes.json"
BUILDER = 1
"""Raise this when the built graph computes other numbers than before."""


def fingerprint(files: Sequence[Path], *facts: object) -> str:
    """A short hash over the files' content, the facts' text and the version of the builder."""
    parts = [f"builder {BUILDER}", *(sha256(file) for file in files), *(repr(fact) for fact in facts)]
    return hashlib.sha256("\n".join(parts).encode()).hexdigest()[:32]


def sha256(file: Path) -> str:
    """The hash of a file's content, kept beside it while its size and time of change stay the same."""
    kept = file.parent / HASHES
    status = file.stat()
    state = [status.st_size, status.st_mtime_ns]
    known = remembered(kept)
    entry = known.get(file.name)
    if isinstance(entry, dict) and entry.get("state") == state:
        return str(entry["sha256"])
    with file.open("rb") as stream:
        digest = hashlib.file_digest(stream, "sha256").hexdigest()
    content = json.dumps({**known, file.name: {"state": state, "sha256": digest}}, indent=1)
    # A folder that may only be read is hashed at every start.
    with contextlib.suppress(OSError):
        kept.write_text(content)
    return digest


def remembered(kept: Path) -> dict[str, object]:
    """The hashes known so far; none where the file is missing or damaged."""
    try:
        content = json.loads(kept.read_bytes())
    except (OSError, ValueError):
        return {}
    return content if isinstance(content, dict) else {}
