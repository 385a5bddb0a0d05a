"""Holds the record against itself: what SQLite can say of its file, and what must be true of the tables."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from dataclasses import dataclass

from ragline.v1.retriever_pb2 import Finding
from services.retriever.stores import Key, Scope

SHOWN = 10  # of what SQLite finds in its own file
AWAY = "stop the retriever, move its folder away, start it and restore a backup (`ragline restore`)"
RESTORE = "mend, then restore a backup (`ragline restore`)"


@dataclass(frozen=True)
class Rule:
    """What must not be found. ``query`` gives collections (or NULL) and how many; ``mend`` removes them.

    What only a backup can mend is ``retake``n: the documents count as changed, so that the next write of what
    they were takes their place.
    """

    what: str
    query: str
    mend: str = ""
    retake: str = ""


def damaged(what: str, condition: str) -> Rule:
    """Documents (``d``) of which something is missing or wrong."""
    return Rule(
        f"{what}; {RESTORE}",
        f"SELECT d.collection, count(*) FROM documents d WHERE {condition} GROUP BY 1",  # noqa: S608 - constants
        retake=f"UPDATE documents AS d SET content_hash = '' WHERE {condition}",  # noqa: S608
    )


def missing(table: str, condition: str) -> str:
    """That a document lacks rows of ``table`` (aliased ``x``)."""
    return (
        f"d.passages <> (SELECT count(*) FROM {table} x WHERE x.row >= d.first_row "  # noqa: S608 - constants
        f"AND x.row < d.first_row + d.passages AND {condition})"
    )


def orphans(table: str, condition: str) -> tuple[str, str]:
    """How many rows of ``table`` nothing needs, and their removal."""
    return (
        f"SELECT NULL, count(*) FROM {table} WHERE {condition} HAVING count(*) > 0",  # noqa: S608 - constants
        f"DELETE FROM {table} WHERE {condition}",  # noqa: S608
    )


OF_NO_DOCUMENT = (
    "NOT EXISTS (SELECT 1 FROM documents d WHERE d.id = passages.document "
    "AND passages.row >= d.first_row AND passages.row < d.first_row + d.passages)"
)
STAGED_FOR_NOBODY = (
    "NOT EXISTS (SELECT 1 FROM passages p JOIN documents d ON d.id = p.document "
    "WHERE p.row = staged.row AND d.died IS NULL AND d.collection = staged.collection)"
)
OF_ANOTHER_KIND = (
    "d.died IS NULL AND EXISTS (SELECT 1 FROM vectors v JOIN collections c ON c.id = d.collection "
    "WHERE v.row >= d.first_row AND v.row < d.first_row + d.passages "
    "AND (length(v.vector) <> 4 * c.dimensions OR length(v.token_ids) % 4 <> 0))"
)

RULES = (
    damaged("documents lack passages", missing("passages", "x.document = d.id")),
    damaged("documents lack vectors", missing("vectors", "x.collection = d.collection")),
    damaged("documents lack their text", "d.id NOT IN (SELECT document FROM sources)"),
    damaged("documents have vectors or word pieces that are not of their collection's kind", OF_ANOTHER_KIND),
    damaged("documents have metadata that is no JSON", "NOT json_valid(d.metadata)"),
    Rule(
        f"documents are of a later generation than their collection; {RESTORE}",
        "SELECT d.collection, count(*) FROM documents d JOIN collections c ON c.id = d.collection "
        "WHERE d.generation > c.generation OR d.died > c.generation GROUP BY 1",
    ),
    Rule(
        f"documents are of no collection; {RESTORE}",
        "SELECT NULL, count(*) FROM documents WHERE collection NOT IN (SELECT id FROM collections) "
        "HAVING count(*) > 0",
    ),
    Rule("passages are of no document", *orphans("passages", OF_NO_DOCUMENT)),
    Rule("vectors are of no passage", *orphans("vectors", "row NOT IN (SELECT row FROM passages)")),
    Rule("texts are of no document", *orphans("sources", "document NOT IN (SELECT id FROM documents)")),
    Rule("staged vectors are of no living passage", *orphans("staged", STAGED_FOR_NOBODY)),
    Rule(
        "checkpoints are of no collection",
        *orphans("checkpoints", "collection NOT IN (SELECT id FROM collections)"),
    ),
    Rule(
        "rows could be given out again",
        "SELECT NULL, 1 WHERE (SELECT max(row) FROM passages) > "
        "(SELECT coalesce(max(seq), 0) FROM sqlite_sequence WHERE name = 'passages')",
        "REPLACE INTO sqlite_sequence (rowid, name, seq) SELECT (SELECT rowid FROM sqlite_sequence "
        "WHERE name = 'passages'), 'passages', max(row) FROM passages",
    ),
    Rule(
        "writes have numbers that could be given out again",
        "SELECT NULL, count(*) FROM (SELECT seq FROM documents UNION ALL SELECT seq FROM stamps) "
        "WHERE seq > (SELECT reserved FROM numbers) HAVING count(*) > 0",
        "UPDATE numbers SET reserved = (SELECT max(seq) FROM "
        "(SELECT seq FROM documents UNION ALL SELECT seq FROM stamps))",
    ),
)


def audit(db: sqlite3.Connection, keys: dict[int, Key], scope: Scope) -> Iterator[tuple[Rule | None, Finding]]:
    """What is wrong, with the rule that it breaks, None where SQLite itself found it; reads all of the file.

    Raises what SQLite raises where it cannot.
    """
    yield from ((None, found) for found in own(db))
    for rule in RULES:
        for collection, count in db.execute(rule.query).fetchall():
            key = keys.get(collection)
            if key is None or scope.holds(key):
                yield rule, finding("record", f"{count} {rule.what}", count, key)


def own(db: sqlite3.Connection) -> Iterator[Finding]:
    """What SQLite finds: pages and indexes."""
    said = [text for (text,) in db.execute(f"PRAGMA integrity_check({SHOWN})")]
    for text in said if said != ["ok"] else []:
        yield finding("record", f"the file is damaged ({text}); {AWAY}", 1)


def finding(part: str, what: str, count: int, key: Key | None = None) -> Finding:
    """One, of a collection or of the whole record."""
    tenant, collection = (key.tenant, key.collection) if key is not None else ("", "")
    return Finding(tenant=tenant, collection=collection, part=part, what=what, count=count)
