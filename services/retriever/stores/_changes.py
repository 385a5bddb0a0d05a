"""What a write does to the record: whether it still counts, what it puts there, what goes because of it."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from collections.abc import Set as AbstractSet

from ragline.spans import embedded_text
from services.retriever.stores import MAX_SEQ, Content, Deleted, Key, Settled, Upserted
from services.retriever.stores._order import Stamp
from services.retriever.stores._record import Record
from services.retriever.stores._rows import Change, Collection, Gone, Stored

PRUNE_S = 60.0  # between two looks for numbers to forget

Generations = dict[int, int]  # of this transaction, by collection, once it has one


class Changes:
    """Each method is one operation inside the writer's transaction, by docs/decisions/0009.

    ``room`` bounds the texts that an answer names; ``ttl_s`` is how long a number is remembered for an id that
    no document has.
    """

    def __init__(self, record: Record, *, room: int, ttl_s: float, clock: Callable[[], float] = time.time) -> None:
        self.record = record
        self.room = room
        self.ttl_s = ttl_s
        self.clock = clock
        self.prune_at = 0.0  # monotonic

    def reserve(self, count: int) -> tuple[int, None]:
        """The first of ``count`` numbers."""
        return self.record.numbers.claim(count), None

    def upsert(
        self, key: Key, content: Content, place: tuple[str, int], generations: Generations
    ) -> tuple[Upserted, Change | None]:
        """Put the document in place of what its id stood for, unless a later write was applied."""
        record, document, (container, seq) = self.record, content.document, place
        seq = self.number(seq)
        if max(self.newest(key, name) for name in (document.id, container) if name) > seq:
            return Upserted(self.generation(key), changed=False, stale=True), None
        collection = record.collection_for(key, content)
        held = record.stored(collection.id, document.id)
        same = held if held is not None and held.same(document) else None
        left = [] if container == document.id else record.members(collection.id, document.id, seq)
        gone = Gone(self.room, uris=set() if held is None else {held.uri})
        change, generation = None, 0 if same is None else same.generation
        if left or same is None:
            change, generation = self.begin(collection, generations)
            self.drop(change, left, generation, gone)
            if same is None and held is not None:
                record.remove(change, held, generation, gone)
        if same is not None:
            record.move(same, document.uri, (container, seq))
        elif change is not None:
            record.insert(change, content, generation, (container, seq))
        stored = {embedded_text(document.title, each.section, each.text) for each in content.passages}
        done = Upserted(
            generation,
            changed=change is not None,
            orphaned_uris=record.orphaned(gone.uris),
            removed_texts=[text for text in gone.texts if text not in stored],
        )
        return done, change

    def settle(
        self, key: Key, container: str, seq: int, kept: AbstractSet[str], generations: Generations
    ) -> tuple[Settled, Change | None]:
        """Remove what older versions of a file left, unless a later write of it was applied."""
        seq = self.number(seq)
        if self.newest(key, container) > seq:
            return Settled(self.generation(key), stale=True), None
        gone, change = self.removed(key, container, seq, kept, generations)
        self.record.stamps.set(key, container, Stamp(seq, None), self.clock())
        done = Settled(
            self.generation(key),
            stale=False,
            orphaned_uris=self.record.orphaned(gone.uris),
            removed_texts=list(gone.texts),
        )
        return done, change

    def delete(
        self, key: Key, document_id: str, seq: int, generations: Generations
    ) -> tuple[Deleted, Change | None]:
        """Remove what writes up to ``seq`` made of the id, and let those that still come find a later number."""
        stamps, seq = self.record.stamps, self.number(seq)
        before = stamps.get(key, document_id)
        gone, change = self.removed(key, document_id, seq, frozenset(), generations)
        found, passages = change is not None, gone.passages
        if before is not None and before.seq == seq:  # sent again: the first time counts
            found, passages = found or before.passages is not None, passages + (before.passages or 0)
        elif not found:
            found = self.stands(key, document_id)
        stamps.set(key, document_id, Stamp(seq, passages if found else None), self.clock())
        done = Deleted(
            self.generation(key),
            passages,
            found,
            orphaned_uris=self.record.orphaned(gone.uris),
            removed_texts=list(gone.texts),
        )
        return done, change

    def removed(
        self, key: Key, name: str, seq: int, kept: AbstractSet[str], generations: Generations
    ) -> tuple[Gone, Change | None]:
        """Take out what writes up to ``seq`` made of an id, but for the documents ``kept``."""
        gone, collection = Gone(self.room), self.record.collection(key)
        if collection is None:
            return gone, None
        going = [each for each in self.doomed(collection.id, name, seq) if each.name not in kept]
        if not going:
            return gone, None
        change, generation = self.begin(collection, generations)
        self.drop(change, going, generation, gone)
        return gone, change

    def drop(self, change: Change, going: Sequence[Stored], generation: int, gone: Gone) -> None:
        """Remove documents; the number of each stays behind, so that what it replaced does not come back."""
        for each in going:
            self.record.remove(change, each, generation, gone)
            self.record.stamps.set(change.collection.key, each.name, Stamp(each.seq, None), self.clock())

    def begin(self, collection: Collection, generations: Generations) -> tuple[Change, int]:
        """A change of the collection, and the generation that it is part of."""
        generation = generations.setdefault(collection.id, collection.generation + 1)
        self.record.advance(collection.id, generation)
        return Change(collection), generation

    def number(self, seq: int) -> int:
        """The place of a write: the one it names, or the next."""
        if not seq:
            return self.record.numbers.claim(1)
        self.record.numbers.seen(seq)
        return seq

    def newest(self, key: Key, name: str) -> int:
        """The newest number that was applied to an id."""
        collection, stamp = self.record.collection(key), self.record.stamps.get(key, name)
        held = None if collection is None else self.record.stored(collection.id, name)
        return max(held.seq if held else 0, stamp.seq if stamp else 0)

    def stands(self, key: Key, name: str) -> bool:
        """Whether anything of the id is there, however new."""
        collection = self.record.collection(key)
        return collection is not None and bool(self.doomed(collection.id, name, MAX_SEQ))

    def doomed(self, collection: int, name: str, seq: int) -> list[Stored]:
        """What writes up to ``seq`` made of an id: a document, and those that came out of the file."""
        own = self.record.stored(collection, name)
        older = [own] if own is not None and own.seq <= seq else []
        return older + self.record.members(collection, name, seq)

    def generation(self, key: Key) -> int:
        """The collection's, as this transaction sees it; 0 where nothing was written."""
        collection = self.record.collection(key)
        return 0 if collection is None else collection.generation

    def prune(self) -> bool:
        """Forget old numbers, some at a time and now and then; says whether anything was done."""
        if time.monotonic() < self.prune_at:
            return False
        now = self.clock()
        looked_at = self.record.stamps.prune(now - self.ttl_s, now)
        self.prune_at = time.monotonic() + (0.0 if looked_at else PRUNE_S)
        return looked_at > 0
