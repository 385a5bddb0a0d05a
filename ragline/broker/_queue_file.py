"""The SQL of the queue in a file: every function runs inside the one transaction that its caller holds."""

from __future__ import annotations

import sqlite3
import uuid
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from ragline.broker import DeadLetter, Message, NewMessage
from ragline.broker._policy import DIED
from ragline.settings import SettingsError

READY, BLOCKED, IN_HAND, WAITING = range(4)
"""States: to be handed out; behind an older message of its key; with a consumer; until its retry is due."""

VERSION = 1
SCHEMA = """
CREATE TABLE IF NOT EXISTS message (
    seq INTEGER PRIMARY KEY AUTOINCREMENT, id TEXT NOT NULL UNIQUE, queue TEXT NOT NULL, key TEXT NOT NULL,
    body BLOB NOT NULL, state INTEGER NOT NULL, attempts INTEGER NOT NULL DEFAULT 0,
    deaths INTEGER NOT NULL DEFAULT 0, due REAL NOT NULL DEFAULT 0, owner TEXT
);
CREATE INDEX IF NOT EXISTS message_state ON message (queue, state, seq);
CREATE INDEX IF NOT EXISTS message_key ON message (queue, key, seq) WHERE key <> '';
CREATE INDEX IF NOT EXISTS message_due ON message (queue, state, due);
CREATE INDEX IF NOT EXISTS message_owner ON message (owner) WHERE owner IS NOT NULL;
CREATE TABLE IF NOT EXISTS dead (
    seq INTEGER PRIMARY KEY AUTOINCREMENT, id TEXT NOT NULL UNIQUE, queue TEXT NOT NULL, key TEXT NOT NULL,
    body BLOB NOT NULL, attempts INTEGER NOT NULL, reason TEXT NOT NULL, parked_at REAL NOT NULL
);
CREATE INDEX IF NOT EXISTS dead_queue ON dead (queue, seq);
CREATE TABLE IF NOT EXISTS depth (
    queue TEXT PRIMARY KEY, messages INTEGER NOT NULL DEFAULT 0, dead INTEGER NOT NULL DEFAULT 0
) WITHOUT ROWID;
CREATE TRIGGER IF NOT EXISTS message_added AFTER INSERT ON message BEGIN
    INSERT INTO depth (queue, messages) VALUES (new.queue, 1)
    ON CONFLICT (queue) DO UPDATE SET messages = messages + 1;
END;
CREATE TRIGGER IF NOT EXISTS message_removed AFTER DELETE ON message BEGIN
    UPDATE depth SET messages = messages - 1 WHERE queue = old.queue;
END;
CREATE TRIGGER IF NOT EXISTS dead_added AFTER INSERT ON dead BEGIN
    INSERT INTO depth (queue, dead) VALUES (new.queue, 1) ON CONFLICT (queue) DO UPDATE SET dead = dead + 1;
END;
CREATE TRIGGER IF NOT EXISTS dead_removed AFTER DELETE ON dead BEGIN
    UPDATE depth SET dead = dead - 1 WHERE queue = old.queue;
END;
"""


@dataclass(frozen=True)
class Delivery:
    """A message in a consumer's hands, with its place in the queue."""

    seq: int
    message: Message


def connect(path: Path, busy_s: float) -> sqlite3.Connection:
    """Open the file so that a commit is on the disk when it returns; raises SettingsError if it cannot be used."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        connection = sqlite3.connect(path, timeout=busy_s, isolation_level=None, check_same_thread=False)
    except (OSError, sqlite3.Error) as error:
        raise SettingsError(f"the queue {path} cannot be opened: {error}.") from error
    try:
        version = prepare(connection)
    except sqlite3.Error as error:
        connection.close()
        raise SettingsError(
            f"the queue {path} cannot be used: {error}; move it away to begin a new one."
        ) from error
    if version != VERSION:
        connection.close()
        raise SettingsError(f"the queue {path} has version {version}, and this program reads version {VERSION}.")
    return connection


def prepare(connection: sqlite3.Connection) -> int:
    """Create what a new file lacks; returns the version of the file, which is left alone if it is another."""
    version = int(connection.execute("PRAGMA user_version").fetchone()[0])
    if version not in {0, VERSION}:
        return version
    connection.execute("PRAGMA journal_mode = WAL")
    connection.execute("PRAGMA synchronous = FULL")
    connection.execute(f"PRAGMA journal_size_limit = {16 << 20}")
    connection.executescript(f"BEGIN IMMEDIATE;{SCHEMA}PRAGMA user_version = {VERSION};COMMIT;")
    return VERSION


def depth(db: sqlite3.Connection, queue: str) -> tuple[int, int]:
    """Messages waiting or in hand, and messages parked."""
    row = db.execute("SELECT messages, dead FROM depth WHERE queue = ?", (queue,)).fetchone()
    return (row[0], row[1]) if row else (0, 0)


def add(db: sqlite3.Connection, queue: str, messages: Sequence[NewMessage]) -> None:
    """Put messages at the end of the queue."""
    for message in messages:
        insert(db, queue, uuid.uuid4().hex, message.key, message.body)


def insert(db: sqlite3.Connection, queue: str, message_id: str, key: str, body: bytes) -> None:
    """Put one message at the end, blocked if an older one of its key is still there."""
    older = (
        key and db.execute("SELECT 1 FROM message WHERE queue = ? AND key = ? LIMIT 1", (queue, key)).fetchone()
    )
    db.execute(
        "INSERT INTO message (id, queue, key, body, state) VALUES (?, ?, ?, ?, ?)",
        (message_id, queue, key, body, BLOCKED if older else READY),
    )


def claim(db: sqlite3.Connection, queue: str, owner: str, count: int, until: float) -> list[Delivery]:
    """Hand the oldest ready messages to ``owner`` until ``until``, seconds since the epoch."""
    rows = db.execute(
        "SELECT seq, id, body, key, attempts + 1 FROM message WHERE queue = ? AND state = ? ORDER BY seq LIMIT ?",
        (queue, READY, count),
    ).fetchall()
    db.executemany(
        "UPDATE message SET state = ?, owner = ?, due = ?, attempts = attempts + 1 WHERE seq = ?",
        [(IN_HAND, owner, until, row[0]) for row in rows],
    )
    return [Delivery(row[0], Message(row[1], row[2], row[3], row[4])) for row in rows]


def wake(db: sqlite3.Connection, queue: str, now: float, max_delay_s: float) -> None:
    """Make retries ready that are due; one due later than any can be was dated by a clock since set back."""
    db.execute(
        "UPDATE message SET state = ? WHERE queue = ? AND state = ? AND (due <= ? OR due > ?)",
        (READY, queue, WAITING, now, now + max_delay_s),
    )


def next_due(db: sqlite3.Connection, queue: str) -> float | None:
    """When the next retry is due, in seconds since the epoch."""
    row = db.execute("SELECT min(due) FROM message WHERE queue = ? AND state = ?", (queue, WAITING)).fetchone()
    due: float | None = row[0]
    return due


def orphans(db: sqlite3.Connection, queue: str, now: float, claimant: str) -> list[int]:
    """Messages in hand whose lease has run out, those of ``claimant`` not counted: it knows that it lives."""
    rows = db.execute(
        "SELECT seq FROM message WHERE queue = ? AND state = ? AND due <= ? AND owner <> ?",
        (queue, IN_HAND, now, claimant),
    )
    return [row[0] for row in rows.fetchall()]


def in_hand(db: sqlite3.Connection) -> list[int]:
    """All messages that consumers have in hand, lease or not."""
    rows = db.execute("SELECT seq FROM message WHERE owner IS NOT NULL")
    return [row[0] for row in rows.fetchall()]


def bury(db: sqlite3.Connection, seqs: Sequence[int], now: float, max_deaths: int) -> None:
    """Give back messages whose consumer died; one that has outlived too many consumers is parked."""
    for seq in seqs:
        db.execute(
            "UPDATE message SET state = ?, owner = NULL, attempts = attempts - 1, deaths = deaths + 1"
            " WHERE seq = ?",
            (READY, seq),
        )
        deaths = db.execute("SELECT deaths FROM message WHERE seq = ?", (seq,)).fetchone()[0]
        if deaths > max_deaths:
            park(db, seq, DIED.format(deaths=deaths), now)


def extend(db: sqlite3.Connection, owner: str, until: float) -> None:
    """Lengthen the lease of all that a consumer has in hand."""
    db.execute("UPDATE message SET due = ? WHERE owner = ? AND state = ?", (until, owner, IN_HAND))


def held(db: sqlite3.Connection, seq: int, owner: str) -> bool:
    """False if the lease was lost and the message given to someone else."""
    row = db.execute("SELECT 1 FROM message WHERE seq = ? AND owner = ?", (seq, owner)).fetchone()
    return row is not None


def remove(db: sqlite3.Connection, seq: int) -> None:
    """Forget a message and let the next one of its key go."""
    row = db.execute("DELETE FROM message WHERE seq = ? RETURNING queue, key", (seq,)).fetchone()
    if row and row[1]:
        db.execute(
            "UPDATE message SET state = ? WHERE state = ? AND seq ="
            " (SELECT min(seq) FROM message WHERE queue = ? AND key = ? AND key <> '')",
            (READY, BLOCKED, *row),
        )


def postpone(db: sqlite3.Connection, seq: int, due: float, *, counted: bool) -> None:
    """Take a message out of its consumer's hands until ``due``; whether this was an attempt is ``counted``.

    What was no failed attempt has got further: the deaths before it do not count any more either.
    """
    db.execute(
        "UPDATE message SET state = ?, owner = NULL, due = ?, attempts = attempts - ?, deaths = deaths * ?"
        " WHERE seq = ?",
        (WAITING, due, not counted, counted, seq),
    )


def give_back(db: sqlite3.Connection, owner: str) -> None:
    """Make ready again what a consumer has in hand; that attempt does not count."""
    db.execute(
        "UPDATE message SET state = ?, owner = NULL, attempts = attempts - 1 WHERE owner = ?", (READY, owner)
    )


def park(db: sqlite3.Connection, seq: int, reason: str, now: float) -> None:
    """Move a message to the dead letters."""
    db.execute(
        "INSERT INTO dead (id, queue, key, body, attempts, reason, parked_at)"
        " SELECT id, queue, key, body, attempts + deaths, ?, ? FROM message WHERE seq = ?",
        (reason, now, seq),
    )
    remove(db, seq)


def parked(db: sqlite3.Connection, queue: str, limit: int) -> list[DeadLetter]:
    """The dead letters, oldest first."""
    rows = db.execute(
        "SELECT id, body, key, attempts, reason, parked_at FROM dead WHERE queue = ? ORDER BY seq LIMIT ?",
        (queue, limit),
    )
    return [DeadLetter(*row) for row in rows.fetchall()]


def take_parked(db: sqlite3.Connection, queue: str, ids: Sequence[str]) -> list[tuple[str, str, bytes]]:
    """Remove dead letters (all, if no ids are given); returns their ids, keys and bodies, oldest first."""
    chosen = list(ids) or [row[0] for row in db.execute("SELECT id FROM dead WHERE queue = ?", (queue,))]
    taken = []
    for one in chosen:
        taken += db.execute(
            "DELETE FROM dead WHERE queue = ? AND id = ? RETURNING seq, id, key, body", (queue, one)
        ).fetchall()
    return [(row[1], row[2], row[3]) for row in sorted(taken)]
