"""A transaction is over when its block is."""

import sqlite3
from pathlib import Path

import pytest

from ragline.transactions import transaction


def test_all_of_it_is_kept_or_none(tmp_path: Path) -> None:
    db = sqlite3.connect(tmp_path / "rows.db", isolation_level=None)
    db.execute("CREATE TABLE row (n INTEGER NOT NULL)")
    with transaction(db):
        db.execute("INSERT INTO row VALUES (1)")
        db.execute("INSERT INTO row VALUES (2)")
    with pytest.raises(sqlite3.IntegrityError), transaction(db):
        db.executemany("INSERT INTO row VALUES (?)", [(3,), (None,)])
    assert not db.in_transaction
    with transaction(db, writes=False):
        assert db.execute("SELECT n FROM row").fetchall() == [(1,), (2,)]
    db.close()


def test_one_that_writes_waits_for_others_and_one_that_reads_does_not(tmp_path: Path) -> None:
    one, two = (sqlite3.connect(tmp_path / "rows.db", isolation_level=None, timeout=0) for _ in range(2))
    one.execute("PRAGMA journal_mode = WAL")
    with transaction(one):
        with pytest.raises(sqlite3.OperationalError, match="locked"), transaction(two):
            raise AssertionError
        with transaction(two, writes=False):
            two.execute("SELECT 1")
    one.close()
    two.close()
