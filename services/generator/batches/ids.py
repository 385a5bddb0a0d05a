"""Finds the line of a custom_id: 16 bytes of its hash and 4 of its number, sorted, searched by halves."""

from __future__ import annotations

import hashlib
from bisect import bisect_left
from collections.abc import Mapping, Sequence

DIGEST = 16
ENTRY = DIGEST + 4


def digest(custom_id: str) -> bytes:
    """What an id is known by; ids that differ have different ones."""
    return hashlib.blake2b(custom_id.encode(), digest_size=DIGEST).digest()


def packed(numbers: Mapping[bytes, int]) -> bytes:
    """The index of line numbers by digest."""
    return b"".join(each + numbers[each].to_bytes(4) for each in sorted(numbers))


def find(index: bytes, custom_id: str) -> int | None:
    """The number of the line of an id; None where there is none."""
    wanted, entries = digest(custom_id), Entries(index)
    at = bisect_left(entries, wanted)
    if at == len(entries) or entries[at] != wanted:
        return None
    return int.from_bytes(index[at * ENTRY + DIGEST : (at + 1) * ENTRY])


class Entries(Sequence[bytes]):
    """The digests of an index, where they lie."""

    def __init__(self, data: bytes) -> None:
        self.data = data

    def __len__(self) -> int:
        return len(self.data) // ENTRY

    def __getitem__(self, at: int) -> bytes:  # type: ignore[override]  # single places are all that is asked for
        return self.data[at * ENTRY : at * ENTRY + DIGEST]
