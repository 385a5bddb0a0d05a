"""Whether the record and what is derived from it agree, and what mends it where they do not."""

from __future__ import annotations

import shutil
import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import structlog

from ragline.v1.retriever_pb2 import Finding
from services.retriever.sparse import SparseBackend
from services.retriever.stores import Key, Scope
from services.retriever.stores._agreement import damaged_files, damaged_vectors, disagreements
from services.retriever.stores._audit import AWAY, Rule, audit, finding
from services.retriever.stores._builder import Builder
from services.retriever.stores._files import Files
from services.retriever.stores._held import Held
from services.retriever.stores._record import Record
from services.retriever.stores._renewal import Renewal
from services.retriever.stores._schema import connect
from services.retriever.stores._writer import Writer

DERIVED = ("sparse", "dense")  # folders with a folder for each collection
NAMES = "SELECT id, tenant, name FROM collections"
REWRITE_S = 120.0  # that files are waited for; they are written later where that is not enough
TRIES = 5  # at a moment that a change of the embedder leaves alone

log = structlog.get_logger(__name__)


class Verification:
    """One look at a store that goes on serving; each part is compared as it was at one moment.

    Reading keeps no writer waiting. Mending is done by the writer, and writes wait while it is; searches do not.
    """

    def __init__(
        self, folder: Path, record: Record, writer: Writer, builder: Builder, sparse: SparseBackend
    ) -> None:
        self.folder = folder
        self.builder = builder
        self.record = record
        self.writer = writer
        self.sparse = sparse
        self.renewal = Renewal(record, writer)

    def findings(self, held: dict[Key, Held], scope: Scope, *, mend: bool) -> Iterator[Finding]:
        """What is wrong: with the record first, since a collection is held against it, then with the folders."""
        try:
            yield from self.parts(held, scope, mend)
        except sqlite3.DatabaseError as error:
            yield finding("record", f"the record cannot be read ({error}); {AWAY}", 1)

    def parts(self, held: dict[Key, Held], scope: Scope, mend: bool) -> Iterator[Finding]:
        """What is wrong; raises what SQLite raises where its file cannot be read."""
        found: list[tuple[Rule | None, Finding]] = []
        with self.moment() as db:
            keys = {identity: Key(tenant, name) for identity, tenant, name in db.execute(NAMES)}
            found += audit(db, keys, scope)
        for rule, what in found:
            what.mended = mend and rule is not None and self.removed(rule)
            yield what
        for key in sorted(held, key=lambda key: (key.tenant, key.collection)):
            if scope.holds(key):
                yield from self.collection(key, held[key], mend)
        if scope == Scope():
            yield from self.orphans(mend)

    @contextmanager
    def moment(self) -> Iterator[sqlite3.Connection]:
        """The record as it is now, for as long as needed."""
        with closing(connect(self.folder / "record.db")) as db:
            db.execute("PRAGMA query_only = ON")
            db.execute("BEGIN")
            db.execute("SELECT count(*) FROM sqlite_schema").fetchone()  # the moment is that of the first read
            yield db

    def removed(self, rule: Rule) -> bool:
        """Let the writer do what a rule's mending is; says whether that makes it whole."""
        statement = rule.mend or rule.retake
        if statement:
            self.writer.submit(lambda _: (self.record.db.execute(statement).rowcount, None), 0).result()
            log.warning("record mended", what=rule.what)
        return bool(rule.mend)

    def collection(self, key: Key, held: Held, mend: bool) -> Iterator[Finding]:
        """A collection's indexes against the record; mended is what is not found a second time."""
        found = self.looked_at(key, held)
        left: set[str] = set()
        if found and mend:
            self.rebuild(held, {each.part for each in found})
            left = {each.part for each in self.looked_at(key, held)}
        for each in found:
            each.mended = mend and each.part not in left
            yield each
        for each in damaged_vectors(key, held.files.folder):
            if mend:
                self.rewrite(held)
                each.mended = not list(damaged_vectors(key, held.files.folder))
            yield each

    def looked_at(self, key: Key, held: Held) -> list[Finding]:
        """What a collection's indexes hold otherwise than the record."""
        found: list[Finding] = []
        for _ in range(TRIES):
            snapshot = held.current
            with self.moment() as db:
                embedder = db.execute(
                    "SELECT fingerprint, dimensions FROM collections WHERE id = ?", (snapshot.collection,)
                ).fetchone()
                if embedder is not None and embedder[0] != snapshot.fingerprint and snapshot.passages:
                    continue  # it has just changed: the next look sees the vectors of the new one
                found = list(disagreements(db, key, snapshot))
                break
        found += damaged_files(key, self.sparse, held.texts.folder)
        return found

    def rebuild(self, held: Held, parts: set[str]) -> None:
        """Derive anew what is wrong."""
        if "sparse" in parts:
            self.renewal.words(held)
        if parts - {"sparse"}:
            self.renewal.vectors(held)
        log.warning("collection mended", collection=held.current.collection, parts=sorted(parts))

    def rewrite(self, held: Held) -> None:
        """Have the files of vectors written anew from memory, by the thread that does so anyway."""
        held.files = Files(held.files.folder)  # which knows of none that is whole
        self.builder.wake(held)
        self.builder.wait(REWRITE_S)
        log.warning("files of vectors written anew", collection=held.current.collection)

    def orphans(self, mend: bool) -> Iterator[Finding]:
        """Files of collections that are not there."""
        for part in DERIVED:
            folder = self.folder / part
            children = sorted(folder.iterdir()) if folder.is_dir() else []
            with self.moment() as db:  # after the listing: a collection is in the record before it has files
                known = {str(identity) for identity, *_ in db.execute(NAMES)}
            for child in children:
                if child.name.partition(".")[0] not in known:
                    if mend:
                        remove(child)
                    what = finding(part, f"{part}/{child.name} is of no collection", 1)
                    what.mended = mend and not child.exists()
                    yield what


def remove(path: Path) -> None:
    """A file or a folder; what cannot be removed stays."""
    if path.is_dir():
        shutil.rmtree(path, ignore_errors=True)
    else:
        path.unlink(missing_ok=True)
