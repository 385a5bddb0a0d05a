"""A content's hash, remembered while the file stays as it was."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path

import pytest

from ragline.encoder.fingerprint import HASHES, fingerprint, sha256


@pytest.fixture
def file(tmp_path: Path) -> Path:
    (tmp_path / "weights").write_bytes(b"first")
    return tmp_path / "weights"


def test_the_hash_is_of_the_content(file: Path) -> None:
    assert sha256(file) == sha256(file) == hashlib.sha256(b"first").hexdigest()


def test_a_changed_file_is_hashed_again(file: Path) -> None:
    sha256(file)
    file.write_bytes(b"other")
    os.utime(file, ns=(1, 1))
    assert sha256(file) == hashlib.sha256(b"other").hexdigest()


def test_an_unchanged_file_is_not_read_again(file: Path) -> None:
    first = sha256(file)
    status = file.stat()
    file.write_bytes(b"FIRST")
    os.utime(file, ns=(status.st_atime_ns, status.st_mtime_ns))
    assert sha256(file) == first


@pytest.mark.parametrize("note", ["", "[]", "{", '{"weights": 7}', '{"weights": {"state": 7}}'])
def test_a_damaged_note_is_written_anew(file: Path, note: str) -> None:
    (file.parent / HASHES).write_text(note)
    assert sha256(file) == hashlib.sha256(b"first").hexdigest()


def test_files_and_facts_both_count(file: Path) -> None:
    assert fingerprint([file], "a") == fingerprint([file], "a")
    assert (
        len({fingerprint([file], "a"), fingerprint([file], "b"), fingerprint([], "a"), fingerprint([file])}) == 4
    )
