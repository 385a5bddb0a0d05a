"""A backup's file: whole or not there at all, and never taken for whole when it is not."""

from __future__ import annotations

from pathlib import Path

import pytest

from ragline.cli.backup_file import FORMAT, HEAD, MAGIC, SEAL_BYTES, SUFFIX, Backup, Writing
from ragline.cli.client import Failure
from ragline.v1.passage_pb2 import Passage
from ragline.v1.retriever_pb2 import CollectionState, Document, Exported, ExportedDocument, ExportedEnd

PARTS = [
    Exported(begin=CollectionState(tenant="t", collection="c", documents=2)),
    Exported(document=ExportedDocument(document=Document(id="a", source="x" * 3_000_000), vectors=b"\x01" * 4096)),
    Exported(document=ExportedDocument(document=Document(id="b"), passages=[Passage(text="é")])),
    Exported(end=ExportedEnd(documents=2, passages=1, checksum="0")),
]


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "backup"
    write(path)
    return path


def write(path: Path) -> None:
    with Writing(path, {"made": "today"}) as writing:
        for part in PARTS:
            writing.add(part)


def test_what_was_written_is_read(file: Path) -> None:
    backup = Backup(file)
    assert list(backup.parts()) == PARTS
    assert list(backup.parts()) == PARTS
    assert backup.states == [PARTS[0].begin]
    assert backup.about["made"] == "today"
    assert [each.name for each in file.parent.iterdir()] == ["backup"]


def test_every_byte_counts(file: Path) -> None:
    whole = file.read_bytes()
    for at in {*range(0, len(whole), max(1, len(whole) // 200)), len(whole) - 1}:
        file.write_bytes(whole[:at] + bytes([whole[at] ^ 1]) + whole[at + 1 :])
        with pytest.raises(Failure, match=r"is no backup|cut off or damaged|use the release"):
            Backup(file)


def test_half_a_file_is_none(file: Path) -> None:
    whole = file.read_bytes()
    for length in {*range(0, len(whole), max(1, len(whole) // 200)), len(whole) - SEAL_BYTES, len(whole) - 1}:
        file.write_bytes(whole[:length])
        with pytest.raises(Failure, match=r"is no backup|cut off or damaged"):
            Backup(file)
    file.write_bytes(whole + b"\n")
    with pytest.raises(Failure, match="cut off or damaged"):
        Backup(file)


def test_a_later_format_says_which_release_to_use(file: Path) -> None:
    file.write_bytes(MAGIC + HEAD.pack(FORMAT + 1, 2) + b"{}" + b"\0" * SEAL_BYTES)
    with pytest.raises(Failure, match=f"has format {FORMAT + 1}, this release reads {FORMAT}"):
        Backup(file)


def test_what_is_no_backup_is_named(tmp_path: Path) -> None:
    with pytest.raises(Failure, match="cannot be read: No such file"):
        Backup(tmp_path / "nothing")
    with pytest.raises(Failure, match="cannot be read"):
        Backup(tmp_path)
    (tmp_path / "page.md").write_text("# A page\n")
    with pytest.raises(Failure, match=r"page.md is no backup of Ragline"):
        Backup(tmp_path / "page.md")


@pytest.mark.parametrize("at", ["first", "last"])
def test_a_full_disk_is_said_and_leaves_the_one_before(file: Path, at: str) -> None:
    before = file.read_bytes()
    with pytest.raises(Failure, match=r"backup cannot be written: No space left on device"):
        write_to_a_full_disk(file, PARTS if at == "first" else [])
    assert file.read_bytes() == before
    assert not file.with_name(file.name + SUFFIX).exists()


def write_to_a_full_disk(path: Path, parts: list[Exported]) -> None:
    with Writing(path, {}) as writing:
        writing.file.close()
        writing.file = open("/dev/full", "wb")  # noqa: SIM115, PTH123 - the writing closes it
        for part in parts * 50:
            writing.add(part)


def test_what_fails_meanwhile_leaves_the_one_before(file: Path) -> None:
    before = file.read_bytes()
    with pytest.raises(ValueError, match="broken off"):
        write_and_fail(file)
    assert file.read_bytes() == before
    assert [each.name for each in file.parent.iterdir()] == ["backup"]


def write_and_fail(path: Path) -> None:
    with Writing(path, {}) as writing:
        writing.add(PARTS[0])
        raise ValueError("broken off")
