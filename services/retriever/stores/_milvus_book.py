"""A collection's documents as a group of writes finds and leaves them: what each write does, by decision 0009."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Awaitable, Callable, Iterable, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, replace

import numpy as np

from ragline.errors import Mismatch, Overloaded
from ragline.spans import embedded_text
from ragline.v1.passage_pb2 import Passage
from services.retriever.stores import MAX_SEQ, Content, Deleted, Key, Settled, Upserted
from services.retriever.stores._milvus_rows import (
    NOTHING,
    ROW_FIELDS,
    Fresh,
    Row,
    hashed,
    name_key,
    passage_of,
    place_of,
    row_for,
    row_of,
    unwrapped,
)
from services.retriever.stores._milvus_server import Server
from services.retriever.stores._milvus_state import State
from services.retriever.stores._rows import Gone

IDS_AT_ONCE = 1000  # that one condition names


@dataclass(frozen=True)
class Terms:
    """What a write needs to know beside its collection: limits, and where numbers come from."""

    room: int  # bytes of removed texts that an answer names
    max_collections: int
    collections: Callable[[], Awaitable[int]]  # how many there are
    number: Callable[[int], Awaitable[int]]  # the next number above one that was seen


class Book:
    """Reads what a group needs, takes the writes one after the other, and holds what is to be written."""

    def __init__(self, server: Server, key: Key, state: State, terms: Terms) -> None:
        self.server = server
        self.key = key
        self.place = place_of(key)
        self.before = state
        self.state = state
        self.terms = terms
        self.rows: dict[str, Row] = {}
        self.old: dict[str, list[Row]] = {}  # all rows of an id that Milvus has
        self.fresh: dict[str, Fresh] = {}  # documents that are not written yet
        self.touched: dict[str, None] = {}
        self.dead: list[Row] = []  # documents whose passages and text go
        self.counts: Counter[int] = Counter()
        self.seen = 0  # the greatest number that a write brought along

    async def load(self, names: AbstractSet[str], files: AbstractSet[str]) -> None:
        """Read what these ids stand for, and the documents that came out of these files."""
        known = {name_key(self.place, name) for name in names | files if name}
        found = await self.read(list(known), "name_key")
        found += await self.read([name_key(self.place, name) for name in files], "container_key")
        more = {name_key(self.place, row.name) for row in found} - known
        found += await self.read(list(more), "name_key")
        for row in found:
            self.old.setdefault(row.name, []).append(row)
        for name, rows in self.old.items():
            self.old[name] = list({row.version: row for row in rows}.values())
            self.rows[name] = max(rows, key=lambda row: row.version)

    async def read(self, keys: Sequence[str], column: str) -> list[Row]:
        """The rows with one of these keys in a column."""
        found: list[Row] = []
        for start in range(0, len(keys), IDS_AT_ONCE):
            chosen = f'place == "{self.place}" and {column} in {quoted(keys[start : start + IDS_AT_ONCE])}'
            found += [row_of(each) for each in await self.server.query(self.server.documents, chosen, ROW_FIELDS)]
        return found

    async def upsert(self, given: Fresh, container: str, seq: int) -> Upserted:
        """Put the document in place of what its id stood for, unless a later write was applied."""
        content, document = given.content, given.content.document
        seq = await self.number(seq)
        if max(self.newest(name) for name in (document.id, container) if name) > seq:
            return Upserted(self.state.generation, changed=False, stale=True)
        fingerprint, dimensions = await self.admitted(content)
        held = self.document(document.id)
        same = held if held is not None and held.same(document) else None
        left = [] if container == document.id else self.members(document.id, seq)
        gone = Gone(self.terms.room, uris=set() if held is None else {held.uri})
        generation = 0 if same is None else same.generation
        if left or same is None:
            generation = self.begin(fingerprint, dimensions)
            await self.drop(left, gone)
        if same is None:
            if held is not None:
                await self.take_out(held, gone)
            self.put(given, container, seq)
        else:
            self.note(replace(same, uri=document.uri, container=container, seq=seq))
        stored = {embedded_text(document.title, each.section, each.text) for each in content.passages}
        return Upserted(
            generation,
            changed=bool(left) or same is None,
            orphaned_uris=await self.orphaned(gone.uris),
            removed_texts=[text for text in gone.texts if text not in stored],
        )

    async def settle(self, container: str, kept: AbstractSet[str], seq: int) -> Settled:
        """Remove what older versions of a file left, unless a later write of it was applied."""
        seq = await self.number(seq)
        if self.newest(container) > seq:
            return Settled(self.state.generation, stale=True)
        gone = await self.removed(container, seq, kept)
        self.stamp(container, seq, NOTHING)
        orphaned = await self.orphaned(gone.uris)
        return Settled(self.state.generation, stale=False, orphaned_uris=orphaned, removed_texts=list(gone.texts))

    async def delete(self, name: str, seq: int) -> Deleted:
        """Remove what writes up to ``seq`` made of the id, and let those that still come find a later number."""
        seq = await self.number(seq)
        before = self.rows.get(name)
        gone = await self.removed(name, seq, frozenset())
        found, passages = bool(gone.uris), gone.passages  # each document that went has one, if an empty one
        if before is not None and before.stamp == seq:  # sent again: the first time counts
            found = found or before.stamp_passages != NOTHING
            passages += max(0, before.stamp_passages)
        elif not found:
            found = bool(self.doomed(name, MAX_SEQ))
        self.stamp(name, seq, passages if found else NOTHING)
        orphaned = await self.orphaned(gone.uris)
        return Deleted(
            self.state.generation, passages, found, orphaned_uris=orphaned, removed_texts=list(gone.texts)
        )

    async def removed(self, name: str, seq: int, kept: AbstractSet[str]) -> Gone:
        """Take out what writes up to ``seq`` made of an id, but for the documents ``kept``."""
        gone = Gone(self.terms.room)
        going = [each for each in self.doomed(name, seq) if each.name not in kept]
        if going:
            self.begin(self.state.fingerprint, self.state.dimensions)
            await self.drop(going, gone)
        return gone

    async def admitted(self, content: Content) -> tuple[str, int]:
        """The embedder that the collection has with this document; raises Mismatch, Overloaded."""
        given = content.fingerprint, int(content.vectors.shape[1])
        state = self.state
        if not state.generation:
            if await self.terms.collections() >= self.terms.max_collections:
                raise Overloaded(
                    f"There are {self.terms.max_collections} collections already (RETRIEVER_MAX_COLLECTIONS); "
                    "raise it."
                )
            return given
        held = state.fingerprint, state.dimensions
        if held == given or not len(content.passages):
            return held
        if state.passages:
            raise Mismatch(
                f"The collection {self.key.collection!r} was filled by the embedder {state.fingerprint!r} "
                f"({state.dimensions} dimensions), this document was embedded by {given[0]!r} "
                f"({given[1]}); write to another collection, or delete this one's documents first."
            )
        return given

    def begin(self, fingerprint: str, dimensions: int) -> int:
        """The generation of this group's changes."""
        generation = self.before.generation + 1
        self.state = replace(self.state, generation=generation, fingerprint=fingerprint, dimensions=dimensions)
        return generation

    def put(self, given: Fresh, container: str, seq: int) -> None:
        """A document in place of none."""
        content = given.content
        row = row_for(self.rows.get(content.document.id, Row(content.document.id)), content, container)
        self.note(replace(row, generation=self.state.generation, seq=seq))
        self.fresh[row.name] = given
        self.count(content.token_ids, 1)
        self.grow(1, row.passages)

    async def drop(self, going: Sequence[Row], gone: Gone) -> None:
        """Remove documents; the number of each stays behind, so that what it replaced does not come back."""
        for each in going:
            await self.take_out(each, gone)
            self.stamp(each.name, each.seq, NOTHING)

    async def take_out(self, held: Row, gone: Gone) -> None:
        """There is no such document any more."""
        given = self.fresh.pop(held.name, None)
        if given is not None:
            passages, token_ids = list(given.content.passages), list(given.content.token_ids)
        else:
            passages, token_ids = await self.contents(held)
            self.dead.append(held)
        texts = (embedded_text(held.title, each.section, each.text) for each in passages)
        gone.take(held.uri, held.passages, texts)
        self.count(token_ids, -1)
        self.grow(-1, -held.passages)
        empty = Row(held.name, generation=self.state.generation)
        self.note(replace(empty, stamp=held.stamp, stamp_passages=held.stamp_passages, stamp_at=held.stamp_at))

    async def contents(self, held: Row) -> tuple[list[Passage], list[bytes]]:
        """A document's passages and their word pieces."""
        if not held.passages:
            return [], []
        collection = self.server.passages(held.dimensions)
        found = await self.server.rows(collection, held.rows, ["id", "body", "tokens"])
        found.sort(key=lambda each: int(each["id"]))
        passages = [passage_of(held, int(each["id"]), each["body"]) for each in found]
        return passages, [unwrapped(each["tokens"]) for each in found]

    def stamp(self, name: str, seq: int, passages: int) -> None:
        """Note a number, unless a newer one is noted."""
        row = self.rows.get(name, Row(name, generation=self.state.generation))
        if row.stamp <= seq:
            self.note(replace(row, stamp=seq, stamp_passages=passages, stamp_at=int(time.time())))

    def note(self, row: Row) -> None:
        """An id stands for something else now."""
        self.rows[row.name] = row
        self.touched[row.name] = None

    def count(self, token_ids: Iterable[bytes], step: int) -> None:
        """Passages that hold these word pieces came or went."""
        for ids in np.frombuffer(b"".join(token_ids), dtype="<u4").tolist():
            self.counts[ids] += step

    def grow(self, documents: int, passages: int) -> None:
        """Documents and passages came or went."""
        state = self.state
        self.state = replace(state, documents=state.documents + documents, passages=state.passages + passages)

    async def number(self, seq: int) -> int:
        """The place of a write: the one it names, or the next."""
        if not seq:
            seq = await self.terms.number(self.seen)
        self.seen = max(self.seen, seq)
        return seq

    def newest(self, name: str) -> int:
        """The newest number that was applied to an id."""
        return self.rows[name].newest if name in self.rows else 0

    def document(self, name: str) -> Row | None:
        """The document of that id."""
        row = self.rows.get(name)
        return row if row is not None and row.exists else None

    def members(self, container: str, seq: int) -> list[Row]:
        """What writes up to ``seq`` stored out of a file of many, but for a document of the file's own id."""
        return [
            row
            for row in self.rows.values()
            if row.exists and row.container == container and row.name != container and row.seq <= seq
        ]

    def doomed(self, name: str, seq: int) -> list[Row]:
        """What writes up to ``seq`` made of an id: a document, and those that came out of the file."""
        own = self.document(name)
        return ([own] if own is not None and own.seq <= seq else []) + self.members(name, seq)

    async def orphaned(self, uris: AbstractSet[str]) -> list[str]:
        """Those of ``uris`` that no document is kept of."""
        here = {row.uri for row in self.rows.values() if row.exists}
        asked = sorted(uri for uri in uris if uri and uri not in here)
        if not asked:
            return []
        elsewhere = await self.elsewhere([hashed(uri) for uri in asked])
        return [uri for uri in asked if uri not in elsewhere]

    async def elsewhere(self, keys: Sequence[str]) -> set[str]:
        """The URIs of these keys that a document is kept of which this group did not read."""
        fields = ["place", *ROW_FIELDS]
        found = await self.server.query(self.server.documents, f"uri_key in {quoted(keys)}", fields)
        return {
            row.uri for each in found if (row := row_of(each)).name not in self.rows or each["place"] != self.place
        }


def quoted(keys: Sequence[str]) -> str:
    """Keys as a list in a condition: hashes, which need no escapes."""
    return "[" + ", ".join(f'"{key}"' for key in keys) + "]"
