"""Files appear whole or not at all, one name goes to one writer, and journals survive what a crash leaves."""

import errno
import os
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from ragline.settings import SettingsError
from services.generator.batches import journal, lines
from services.generator.batches.journal import Journal
from services.generator.batches.storage import Storage


def result(number: int, said: str = "x") -> bytes:
    return lines.result(number, None, lines.Answer(200, b'{"said":"%s"}' % said.encode())).raw


def test_a_storage_that_cannot_be_stops_the_start() -> None:
    with pytest.raises(SettingsError, match="GENERATOR_BATCH_URL"):
        Storage("nowhere://x", "GENERATOR_BATCH_URL")


def test_files_are_written_read_listed_and_removed(storage: Storage) -> None:
    assert storage.names("a") == []
    storage.write("a/b/one", b"0123456789")
    storage.write("a/b/two", b"")
    storage.write("a/b/two", b"two")
    assert storage.names("a/b") == ["one", "two"]
    assert storage.names("a") == ["b"]
    assert storage.read("a/b/one", 2, 5) == b"234"
    assert storage.read("a/b/one", 8, 64) == b"89"
    storage.remove("a/b/one")
    storage.remove("a/b/one")
    assert not storage.exists("a/b/one")
    with pytest.raises(FileNotFoundError):
        storage.read("a/b/one")
    storage.remove("a")
    assert storage.names("a/b") == []


def test_the_first_to_create_a_file_wins(storage: Storage) -> None:
    assert storage.create("x/y", b"first")
    assert not storage.create("x/y", b"second")
    assert storage.read("x/y") == b"first"


def test_of_many_at_once_one_creates_the_file(tmp_path: Path) -> None:
    storage = Storage(f"file://{tmp_path}", "URL")
    with ThreadPoolExecutor(8) as pool:
        won = list(pool.map(lambda n: storage.create("x/y", b"%d" % n * 1000), range(8)))
    assert won.count(True) == 1
    assert storage.read("x/y") == b"%d" % won.index(True) * 1000
    assert storage.names("x", unfinished=True) == ["y"]


def test_an_upload_that_fails_leaves_nothing(tmp_path: Path) -> None:
    storage = Storage(f"file://{tmp_path}", "URL")

    def fill() -> None:
        with storage.upload("x/y") as target:
            target.write(b"half")
            raise OSError(errno.ENOSPC, "full")

    with pytest.raises(OSError, match="full"):
        fill()
    assert storage.names("x", unfinished=True) == []


def test_what_a_crash_cut_off_is_not_read(tmp_path: Path) -> None:
    storage = Storage(f"file://{tmp_path}", "URL")
    killed = Journal(storage, "b", 3)
    killed.append([result(1), result(2)[:-9]])
    killed.close()
    going_on = Journal(storage, "b", 3)
    going_on.append([result(2, "again")])
    going_on.append([result(3)])
    found = journal.read(storage, journal.names(storage, "b")[3])
    assert sorted(found) == [1, 2, 3]
    assert b"again" in found[2].raw
    going_on.close()


def test_what_two_workers_did_is_there_once_and_the_first_one_counts(storage: Storage) -> None:
    first, second, other = Journal(storage, "b", 0), Journal(storage, "b", 0), Journal(storage, "b", 1)
    second.append([result(1, "second"), result(2, "second")])
    first.append([result(1, "first")])
    other.append([result(9)])
    names = journal.names(storage, "b")
    found = journal.read(storage, names[0])
    assert b"first" in found[1].raw
    assert b"second" in found[2].raw
    assert sorted(names) == [0, 1]
    for each in (first, second, other):
        each.close()


def test_an_append_that_fails_spoils_nothing(tmp_path: Path) -> None:
    storage = Storage(f"file://{tmp_path}", "URL")
    written = Journal(storage, "b", 0)
    written.append([result(1)])
    assert written.file is not None
    os.close(written.file)
    written.file = os.open("/dev/full", os.O_WRONLY)
    with pytest.raises(OSError, match="No space"):
        written.append([result(2)])
    written.close()
    assert sorted(journal.read(storage, journal.names(storage, "b")[0])) == [1]
