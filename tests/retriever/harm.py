"""Harms files of a store as a disk may, while an index of this process may still have them mapped."""

from __future__ import annotations

from pathlib import Path


def put(file: Path, content: bytes) -> None:
    """Another file of that name: who has the old one mapped keeps it. To write over that may end the process."""
    file.unlink()
    file.write_bytes(content)


def flip(file: Path) -> None:
    """One bit in the middle is another."""
    content = bytearray(file.read_bytes())
    content[len(content) // 2] ^= 0x40
    put(file, bytes(content))


def truncate(file: Path) -> None:
    """The last byte is missing."""
    put(file, file.read_bytes()[:-1])
