"""A collection in Milvus: at least the generation it was opened at, and never a document in part."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Protocol, TypeVar

import numpy as np
import structlog

from ragline.errors import InvalidRequest, Unavailable
from ragline.v1.passage_pb2 import Passage
from services.retriever.filters import COLUMNS, Compare, Filter
from services.retriever.stores import Allowed, Around, Ranking, Rows, Vectors
from services.retriever.stores._milvus_book import quoted
from services.retriever.stores._milvus_facts import any_fact, condition, stands, there
from services.retriever.stores._milvus_rows import (
    NUMBERS,
    ROW_FIELDS,
    Fields,
    Row,
    hashed,
    passage_of,
    row_of,
    unpacked,
)
from services.retriever.stores._milvus_server import MAX_HITS, Server
from services.retriever.stores._milvus_state import Shared, State
from services.retriever.stores._milvus_terms import Analysis, Asked

MOST_RESOLVED = 20_000  # documents that an order in a filter may leave: a condition names each
ROUNDS = 5  # in which a search is made again without what went meanwhile
WIDEN = 4  # how much more is asked for where a phrase left too few
NAMES_AT_ONCE = 1000

T = TypeVar("T")

log = structlog.get_logger(__name__)


class Wait(Protocol):
    """Runs a coroutine on the store's own event loop, and waits for it in the thread of the caller."""

    def __call__(self, work: Awaitable[T]) -> T:
        """What it gives; raises TimedOut at the request's deadline."""
        ...


@dataclass(frozen=True)
class Chosen:
    """The passages that a filter lets through, as a condition; how many is counted when somebody asks."""

    condition: str
    count: Callable[[], int]

    @cached_property
    def length(self) -> int:
        """How many there are."""
        return self.count()

    def __len__(self) -> int:
        return self.length


@dataclass(frozen=True)
class Hit:
    """What Milvus found."""

    row: int
    score: float
    name_key: str


class MilvusView:
    """See ``View``. Milvus keeps no snapshots: what is searched is at least as new as ``generation``."""

    def __init__(
        self, server: Server, shared: Shared, wait: Wait, analysis: Analysis, at: tuple[str, str, State]
    ) -> None:
        self.server = server
        self.shared = shared
        self.wait = wait
        self.analysis = analysis
        self.place, self.epoch, self.state = at
        self.here = f'place == "{self.place}"'

    @property
    def generation(self) -> int:
        """See ``View``."""
        return self.state.generation

    @property
    def passages(self) -> int:
        """How many there were at that generation."""
        return self.state.passages

    @property
    def fingerprint(self) -> str:
        """See ``View``."""
        return self.state.fingerprint

    @property
    def collection(self) -> str:
        """Milvus' collection of the passages."""
        return self.server.passages(self.state.dimensions)

    def allowed(self, chosen: Filter | None) -> Chosen | None:
        """The filter as a condition; raises InvalidRequest where an order leaves too many documents to name."""
        if chosen is None:
            return None
        # Orders are looked up first, one after the other: the walk over the filter cannot wait.
        orders: dict[Compare, str] = {}

        def resolved(asked: Compare) -> str:
            if asked not in orders:
                orders[asked] = self.wait(self.standing(asked))
            return orders[asked]

        made = condition(chosen, hashed, resolved)
        where = f"{self.here} and {made}"
        return Chosen(made, lambda: self.wait(self.counted(where)))

    async def counted(self, where: str) -> int:
        """How many passages a condition names."""
        return await self.server.count(self.collection, where) if self.state.dimensions else 0

    async def standing(self, asked: Compare) -> str:
        """The condition for the documents whose value stands so to another: their ids, as facts cannot say it."""
        key = asked.key
        holding = "" if len(key) == 1 and key[0] in COLUMNS else f" and {any_fact([hashed(*there(key))])}"
        documents: dict[str, Row] = {}
        async for batch in self.server.scan(self.server.documents, f"{self.here}{holding}", ROW_FIELDS):
            for row in map(row_of, batch):
                documents[row.name] = row  # rows come by ascending version
        names = [
            row.name
            for row in documents.values()
            if row.exists and stands(asked, row.name, row.title, row.metadata)
        ]
        if len(names) > MOST_RESOLVED:
            raise InvalidRequest(
                f"{'.'.join(key)} {asked.operator} {asked.value!r} leaves {len(names):,} documents; in Milvus it "
                f"may leave {MOST_RESOLVED:,}. Keep what is filtered by as values to be equal to.",
                field="filter",
            )
        keys = [hashed(self.place, name) for name in names]
        return f"(name_key in {quoted(keys)})" if keys else "(id < 0)"

    def dense(self, queries: Vectors, depth: int, allowed: Allowed | None) -> list[Ranking]:
        """The nearest passages to each query."""
        if not self.state.passages:
            return [ranked([]) for _ in queries]
        return self.wait(self.nearest(queries, depth, allowed))

    async def nearest(self, queries: Vectors, depth: int, allowed: Allowed | None) -> list[Ranking]:
        """All queries at once, and once more without what has gone meanwhile."""
        depth, where, gone = min(depth, MAX_HITS), self.where(allowed), set[int]()
        given = np.ascontiguousarray(queries, dtype=np.float32)
        for _ in range(ROUNDS):
            found = await self.server.search(self.state.dimensions, given, depth, without(where, gone))
            dead = await self.dead({hit for hits in found for hit in hits})
            if not dead:
                break
            gone |= dead
        return [ranked([(row, score) for row, score, _ in hits if row not in gone]) for hits in found]

    def sparse(self, query: str, depth: int, allowed: Allowed | None) -> Ranking:
        """The best matches of the query's words; of a query's quotes, only what holds them, if anything does."""
        if not self.state.passages:
            return ranked([])
        return self.wait(self.matching(self.analysis.query(query), depth, allowed))

    async def matching(self, questions: Sequence[Asked], depth: int, allowed: Allowed | None) -> Ranking:
        """What the first of the questions finds that finds anything."""
        for asked in questions:
            found = await self.matches(asked, min(depth, MAX_HITS), self.where(allowed))
            if found:
                return ranked(found)
        return ranked([])

    async def matches(self, asked: Asked, depth: int, where: str) -> list[tuple[int, float]]:
        """Rows and scores, asked for again without what has gone, and with more where phrases left too few."""
        where = f"{where} and {asked.condition}" if asked.condition else where
        wanted, gone = depth, set[int]()
        while True:
            [hits] = await self.server.search(self.state.dimensions, [asked.words], wanted, without(where, gone))
            dead = await self.dead(set(hits))
            kept = await self.weighed(asked, [hit for hit in hits if hit[0] not in dead])
            if dead and len(gone) < MAX_HITS:
                gone |= dead
            elif len(kept) >= depth or len(hits) < wanted or wanted >= MAX_HITS:
                return kept[:depth]
            else:
                wanted = min(MAX_HITS, wanted * WIDEN)

    async def weighed(self, asked: Asked, hits: Sequence[tuple[int, float, str]]) -> list[tuple[int, float]]:
        """The hits that hold what is required, those with a name as it is written first."""
        if not (asked.required or asked.together):
            return [(row, score) for row, score, _ in hits]
        found = await self.server.rows(self.collection, [row for row, _, _ in hits], ["id", "terms"])
        factors = {int(each["id"]): asked.factor(each["terms"]) for each in found}
        scored = [(row, score * factor) for row, score, _ in hits if (factor := factors.get(row, 0.0))]
        return sorted(scored, key=lambda each: (-each[1], each[0]))

    def where(self, allowed: Allowed | None) -> str:
        """The condition that every search carries: of this collection, and of the filter."""
        if allowed is None:
            return self.here
        assert isinstance(allowed, Chosen)  # noqa: S101 - no view takes what another store's view made
        return f"{self.here} and {allowed.condition}"

    async def dead(self, hits: set[tuple[int, float, str]]) -> set[int]:
        """Those of the hits' rows that no document counts (any more, or yet)."""
        keys = {key for _, _, key in hits}
        living = await self.living(keys, ["id", "name_key", *NUMBERS])
        dead = set()
        for row, _, key in hits:
            owner = living.get(key)
            if owner is None or not 0 <= row - int(owner["first"]) < int(owner["passages"]):
                dead.add(row)
        return dead

    async def living(self, keys: set[str], fields: Sequence[str]) -> dict[str, Fields]:
        """The valid row of each of these ids."""
        living: dict[str, Fields] = {}
        every = sorted(keys)
        for start in range(0, len(every), NAMES_AT_ONCE):
            chosen = f"{self.here} and name_key in {quoted(every[start : start + NAMES_AT_ONCE])}"
            for each in await self.server.query(self.server.documents, chosen, fields):
                known = living.get(each["name_key"])
                if known is None or int(known["id"]) < int(each["id"]):
                    living[each["name_key"]] = each
        return living

    def cosines(self, query: Vectors, rows: Rows) -> Vectors:
        """The cosine of the query with each row."""
        cosines: Vectors = self.vectors(rows) @ query
        return cosines

    def vectors(self, rows: Rows) -> Vectors:
        """The vectors of rows; zeros for one that was since changed or deleted."""
        made = np.zeros((len(rows), self.state.dimensions), dtype=np.float32)
        found = self.wait(self.server.rows(self.collection, rows.tolist(), ["id", "vector"])) if len(rows) else []
        by_row = {int(each["id"]): each["vector"] for each in found}
        for i, row in enumerate(rows.tolist()):
            if row in by_row:
                made[i] = by_row[row]
        return made

    def frequencies(self, token_ids: Sequence[int]) -> list[int]:
        """How many passages hold each word piece; none where Redis does not say, which only blunts the scores."""
        try:
            return self.wait(self.shared.counts(self.place, token_ids))
        except Unavailable as error:
            log.warning("word pieces were not counted", why=error.detail)
            return [0] * len(token_ids)

    def fetch(self, rows: Sequence[int]) -> Mapping[int, Passage]:
        """The passages as they are stored now."""
        return self.wait(self.fetched(rows)) if rows else {}

    async def fetched(self, rows: Sequence[int]) -> dict[int, Passage]:
        """The passages of rows that a document counts."""
        found = await self.server.rows(self.collection, rows, ["id", "name_key", "body"])
        living = await self.living({each["name_key"] for each in found}, [*ROW_FIELDS, "name_key"])
        owners = {key: row_of(fields) for key, fields in living.items()}
        passages = {}
        for each in found:
            owner, row = owners.get(each["name_key"]), int(each["id"])
            if owner is not None and row in owner.rows:
                passages[row] = passage_of(owner, row, each["body"])
        return passages

    def around(self, rows: Sequence[int], count: int) -> Mapping[int, Around]:
        """Each row with its neighbours."""
        return self.wait(self.widened(rows, count)) if rows else {}

    async def widened(self, rows: Sequence[int], count: int) -> dict[int, Around]:
        """The passages about each row that are of the same document, and its text there."""
        found = await self.server.rows(self.collection, rows, ["id", "name_key"])
        living = await self.living({each["name_key"] for each in found}, [*ROW_FIELDS, "name_key"])
        owners = {key: row_of(fields) for key, fields in living.items()}
        spans: dict[int, tuple[Row, range]] = {}
        for each in found:
            owner, row = owners.get(each["name_key"]), int(each["id"])
            if owner is not None and row in owner.rows:
                spans[row] = owner, range(max(owner.first, row - count), min(owner.rows.stop, row + count + 1))
        wanted = sorted({row for _, span in spans.values() for row in span})
        bodies = {
            int(each["id"]): each["body"]
            for each in await self.server.rows(self.collection, wanted, ["id", "body"])
        }
        sources = {owner.name: owner for owner, _ in spans.values()}
        texts = {name: await text_of(self.server, owner) for name, owner in sources.items()}
        return {
            row: surrounded(row, owner, [at for at in span if at in bodies], bodies, texts[owner.name])
            for row, (owner, span) in spans.items()
            if row in bodies
        }


def surrounded(row: int, owner: Row, near: Sequence[int], bodies: Mapping[int, str], source: str) -> Around:
    """A passage among those near it."""
    made = [passage_of(owner, at, bodies[at]) for at in near]
    begin, end = min(one.start for one in made), max(one.end for one in made)
    return Around(made, near.index(row), source[begin:end])


async def text_of(server: Server, row: Row) -> str:
    """A document's text, out of its pieces."""
    found = await server.rows(server.sources, row.sources, ["id", "piece"])
    pieces = [each["piece"] for each in sorted(found, key=lambda each: int(each["id"]))]
    return unpacked("".join(pieces))


def without(where: str, gone: set[int]) -> str:
    """A condition that leaves rows out."""
    return f"{where} and id not in {sorted(gone)}" if gone else where


def ranked(found: Sequence[tuple[int, float]]) -> Ranking:
    """Rows and scores as a ranking."""
    rows = np.array([row for row, _ in found], dtype=np.int64)
    return Ranking(rows, np.array([score for _, score in found], dtype=np.float32))
