"""What each collection holds and how it is searched, from memory and a few counts of the record."""

from __future__ import annotations

from collections.abc import Mapping

from ragline.v1.retriever_pb2 import CollectionState
from services.retriever.stores import Key, Scope
from services.retriever.stores._held import Held
from services.retriever.stores._reader import Reader

LIVING = "SELECT count(*) FROM documents WHERE collection = ? AND died IS NULL"
DEAD = "SELECT coalesce(sum(passages), 0) FROM documents WHERE collection = ? AND died IS NOT NULL"
STAGED = (
    "SELECT next_fingerprint, (SELECT count(*) FROM staged s WHERE s.collection = c.id) "
    "FROM collections c WHERE id = ?"
)


def states(held: Mapping[Key, Held], reader: Reader, scope: Scope) -> list[CollectionState]:
    """By tenant and name; a write that comes meanwhile may be in some of the numbers and not in others."""
    chosen = sorted((key for key in list(held) if scope.holds(key)), key=lambda key: (key.tenant, key.collection))
    return [state(key, held[key], reader) for key in chosen]


def state(key: Key, held: Held, reader: Reader) -> CollectionState:
    """One collection's."""
    snapshot = held.current
    dense = snapshot.state()
    following = reader.db.execute(STAGED, (snapshot.collection,)).fetchone() or ("", 0)
    return CollectionState(
        tenant=key.tenant,
        collection=key.collection,
        generation=snapshot.generation,
        documents=reader.db.execute(LIVING, (snapshot.collection,)).fetchone()[0],
        passages=snapshot.passages,
        fingerprint=snapshot.fingerprint,
        dimensions=snapshot.dimensions,
        next_fingerprint=following[0],
        staged=following[1],
        dense_tier=dense.tier,
        recall=dense.recall,
        dense_bytes=dense.bytes,
        dead_passages=reader.db.execute(DEAD, (snapshot.collection,)).fetchone()[0],
    )
