"""Vectors of another embedder beside those that are searched by, and the switch from the ones to the others."""

from __future__ import annotations

import time
from collections.abc import Callable

import numpy as np

from ragline.errors import InvalidRequest, Mismatch, NotFound, Overloaded
from services.retriever.stores import Key, Switched, Vectorised
from services.retriever.stores._changes import Changes, Generations
from services.retriever.stores._record import Record
from services.retriever.stores._rows import Change, Collection, Stored

FEW = 16  # documents left to stage, from which writes of the old embedder wait for the switch
CLOSING_S = 5.0  # they wait for this long at most
OPEN_S = 10.0  # after which they do not wait for this long
WAIT_S = 0.1  # until such a write is tried again


class Staging:
    """Each method is one operation inside the writer's transaction, by docs/decisions/0021.

    Staged rows belong to living passages only and never to two embedders: what is updated or deleted loses
    them, and the first document of another embedder takes all of them away. What only this object knows is
    how far a search for missing documents need not look again, and which collections are about to switch.
    """

    def __init__(
        self,
        record: Record,
        changes: Changes,
        *,
        most: int = 256,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.record = record
        self.changes = changes
        self.most = most
        self.clock = clock
        self.complete: dict[int, int] = {}  # no document up to this one lacks vectors, by collection
        self.closing: dict[int, float] = {}  # since when, by collection

    def stage(self, key: Key, name: str, seq: int, given: Vectorised) -> tuple[bool, None]:
        """Keep vectors of a document's passages; says whether it is another version by now, and nothing was done.

        Raises NotFound for the collection and InvalidRequest for another number of passages.
        """
        collection = self.collection(key)
        held = self.record.stored(collection.id, name)
        if held is None or held.seq != seq:
            return True, None
        if len(given.vectors) != len(held.rows):
            raise InvalidRequest(
                f"The document {name!r} has {len(held.rows)} passages, there are {len(given.vectors)} vectors.",
                field="vectors",
            )
        if given.fingerprint != collection.fingerprint:
            self.expect(collection, given)
            self.put(collection, held, given)
        return False, None

    def switch(self, key: Key, fingerprint: str, generations: Generations) -> tuple[Switched, Change | None]:
        """Let searches go by the staged vectors, if all of them are there; else name documents that lack them.

        For the embedder in use this drops what was staged of another. Raises NotFound for the collection.
        """
        collection = self.collection(key)
        if collection.fingerprint == fingerprint:
            self.drop(collection.id)
            return Switched(True, collection.generation), None
        expected, dimensions = self.expected(collection.id)
        if expected != fingerprint and self.record.holds_vectors(collection.id):
            return Switched(False, collection.generation, self.documents(collection.id)), None
        missing = self.missing(collection.id)
        if missing:
            return Switched(False, collection.generation, missing), None
        change, generation = self.changes.begin(
            Collection(
                collection.id, key, fingerprint, dimensions or collection.dimensions, collection.generation
            ),
            generations,
        )
        self.turn(change.collection)
        change.switched = True
        return Switched(True, generation), change

    def admit(self, key: Key, fingerprint: str) -> None:
        """Raise Overloaded for a write of the old embedder while the last documents are being staged."""
        collection = self.record.collection(key)
        if collection is None or fingerprint != collection.fingerprint:
            return
        since = self.closing.get(collection.id)
        if since is not None and self.clock() - since < CLOSING_S:
            raise Overloaded(
                f"The collection {key.collection!r} is about to change its embedder; try again.",
                retry_after_s=WAIT_S,
            )

    def collection(self, key: Key) -> Collection:
        """The collection; raises NotFound."""
        found = self.record.collection(key)
        if found is None:
            raise NotFound(f"There is no collection {key.collection!r}.", field="collection")
        return found

    def expected(self, collection: int) -> tuple[str, int]:
        """The embedder whose vectors are staged, and how many dimensions they have."""
        found: tuple[str, int] = self.record.db.execute(
            "SELECT next_fingerprint, next_dimensions FROM collections WHERE id = ?", (collection,)
        ).fetchone()
        return found

    def expect(self, collection: Collection, given: Vectorised) -> None:
        """Let the staged vectors be of this embedder, which takes away those of any other."""
        embedder = (given.fingerprint, int(given.vectors.shape[1]))
        before = self.expected(collection.id)
        if before == embedder:
            return
        if before[0] == embedder[0] and before[1]:
            raise Mismatch(
                f"The embedder {embedder[0]!r} has made vectors of {before[1]} and of {embedder[1]} dimensions."
            )
        self.drop(collection.id)
        self.record.db.execute(
            "UPDATE collections SET next_fingerprint = ?, next_dimensions = ? WHERE id = ?",
            (*embedder, collection.id),
        )

    def put(self, collection: Collection, held: Stored, given: Vectorised) -> None:
        """Write a document's rows; those of the same document from before are replaced."""
        vectors = np.ascontiguousarray(given.vectors, dtype="<f4")
        self.record.db.executemany(
            "REPLACE INTO staged VALUES (?, ?, ?, ?)",
            (
                (row, collection.id, vector.tobytes(), tokens)
                for row, vector, tokens in zip(held.rows, vectors, given.token_ids, strict=True)
            ),
        )

    def drop(self, collection: int) -> None:
        """Take away all that is staged."""
        self.complete.pop(collection, None)
        self.closing.pop(collection, None)
        if self.expected(collection)[0]:
            self.record.db.execute("DELETE FROM staged WHERE collection = ?", (collection,))
            self.record.db.execute(
                "UPDATE collections SET next_fingerprint = '', next_dimensions = 0 WHERE id = ?", (collection,)
            )

    def turn(self, collection: Collection) -> None:
        """Put the staged vectors in place of the others."""
        db = self.record.db
        db.execute(
            "UPDATE vectors SET vector = staged.vector, token_ids = staged.token_ids FROM staged "
            "WHERE staged.row = vectors.row AND staged.collection = ?",
            (collection.id,),
        )
        self.drop(collection.id)
        db.execute(
            "UPDATE collections SET fingerprint = ?, dimensions = ? WHERE id = ?",
            (collection.fingerprint, collection.dimensions, collection.id),
        )

    def documents(self, collection: int) -> list[str]:
        """Some documents that have passages, the oldest first."""
        found = self.record.db.execute(
            "SELECT name FROM documents NOT INDEXED "
            "WHERE collection = ? AND died IS NULL AND passages > 0 ORDER BY id LIMIT ?",
            (collection, self.most),
        )
        return [name for (name,) in found]

    def missing(self, collection: int) -> list[str]:
        """Some documents whose vectors are not all staged, the oldest first; none: all are there."""
        found = self.unstaged(collection, self.complete.get(collection, 0))
        if not found and not self.whole(collection):  # in doubt from the beginning
            found = self.unstaged(collection, 0)
        if found:
            self.complete[collection] = found[0][0] - 1
        self.close_in(collection, len(found))
        return [name for _, name in found]

    def unstaged(self, collection: int, above: int) -> list[tuple[int, str]]:
        """The first documents behind the one of id ``above`` that lack a staged row."""
        return self.record.db.execute(
            "SELECT id, name FROM documents NOT INDEXED "
            "WHERE id > ? AND collection = ? AND died IS NULL AND passages > (SELECT count(*) FROM staged "
            "WHERE row >= first_row AND row < first_row + passages) ORDER BY id LIMIT ?",
            (above, collection, self.most),
        ).fetchall()

    def whole(self, collection: int) -> bool:
        """Whether there are as many staged rows as living passages."""
        one = "SELECT count(*) FROM staged WHERE collection = ?"
        all_of = "SELECT coalesce(sum(passages), 0) FROM documents WHERE collection = ? AND died IS NULL"
        counts = [self.record.db.execute(query, (collection,)).fetchone()[0] for query in (one, all_of)]
        return bool(counts[0] == counts[1])

    def close_in(self, collection: int, left: int) -> None:
        """Let writes of the old embedder wait a moment once few documents are left, so that the end is reached."""
        since, now = self.closing.get(collection), self.clock()
        if 0 < left <= min(FEW, self.most - 1) and (since is None or now - since >= CLOSING_S + OPEN_S):
            self.closing[collection] = now
