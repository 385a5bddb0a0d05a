"""Talks to Milvus: its collections made where they are missing, each call bounded, none made while it is away."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeVar
from urllib.parse import unquote, urlsplit

import grpc
import structlog
from pymilvus import AsyncMilvusClient, MilvusException

from ragline.breaker import Breaker
from ragline.errors import Internal, Unavailable
from ragline.settings import SettingsError
from ragline.urls import shown
from services.retriever.stores import Vectors
from services.retriever.stores._milvus_rows import Fields
from services.retriever.stores._milvus_schema import Layout, documents, passages, sources

STRONG = "Strong"  # what was acknowledged is seen by whoever asks afterwards, through any replica
MAX_HITS = 16_384  # that Milvus answers with at a time
SCAN_ROWS = 4096  # read at a time from one end to the other
WRITE_ROWS = 1000  # in one call: well within what one message may hold
DELETE_ROWS = 10_000
AWAY = (grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.DEADLINE_EXCEEDED, grpc.StatusCode.UNAUTHENTICATED)
NOT_LOADED = 101  # Milvus' code
# Of pymilvus: it could not connect, was told nothing, or asked again until it gave up, which has gRPC's code.
AWAY_CODES = (2, 65535, *AWAY)

T = TypeVar("T")

log = structlog.get_logger(__name__)


@dataclass(frozen=True)
class Options:
    """How the collections are made; what is there already stays as it is."""

    name: str = "ragline"  # that all of them begin with
    partitions: int = 64  # that tenants and collections are spread over
    index: str = "HNSW"
    build: dict[str, Any] = field(default_factory=lambda: {"M": 16, "efConstruction": 128})
    ef: int = 128  # candidates of a search in HNSW, at least
    timeout_s: float = 10.0  # of one call


@dataclass(frozen=True)
class Address:
    """``http(s)://user:password@host:19530/database``, or a token in place of the login."""

    uri: str
    token: str
    database: str

    @classmethod
    def of(cls, url: str) -> Address:
        """A URL taken apart; raises SettingsError."""
        try:
            parts = urlsplit(url)
            host, port = parts.hostname, parts.port
        except ValueError:
            host, port = None, None
        if parts.scheme not in {"http", "https"} or not host or parts.query or parts.fragment:
            raise SettingsError(
                f"RETRIEVER_MILVUS_URL is {shown(url)!r}; write http://user:password@host:19530/database."
            )
        where = f"[{host}]" if ":" in host else host
        login = [unquote(part) for part in (parts.username, parts.password) if part]
        return cls(f"{parts.scheme}://{where}:{port or 19530}", ":".join(login), unquote(parts.path.strip("/")))


class Server:
    """Milvus behind a breaker; belongs to one event loop."""

    def __init__(self, address: Address, options: Options) -> None:
        self.address = address
        self.options = options
        self.client = AsyncMilvusClient(
            address.uri,
            token=address.token,
            db_name=address.database,
            timeout=options.timeout_s,
            dedicated=True,
        )
        self.breaker = Breaker(address.uri, what="milvus")
        self.made: set[str] = set()  # collections that are known to be there
        self.making = asyncio.Lock()

    @property
    def documents(self) -> str:
        """The collection of documents' rows."""
        return f"{self.options.name}_documents"

    @property
    def sources(self) -> str:
        """The collection of documents' texts."""
        return f"{self.options.name}_sources"

    def passages(self, dimensions: int) -> str:
        """The collection of passages with vectors of that length."""
        return f"{self.options.name}_passages_{dimensions}"

    async def call(self, step: Callable[[AsyncMilvusClient], Awaitable[T]]) -> T:
        """What Milvus answers.

        Raises Unavailable where it does not: at once while it is known to be away; Internal where it refuses.
        """
        if not self.breaker.admit():
            raise Unavailable(f"Milvus at {self.address.uri} does not answer.", retry_after_s=1.0)
        try:
            async with asyncio.timeout(self.options.timeout_s):
                answer = await step(self.client)
        except (grpc.RpcError, TimeoutError, OSError, MilvusException) as error:
            if not away(error):
                self.breaker.passed()
                raise Internal(f"Milvus refused a call: {error}") from error
            self.breaker.failed(error)
            raise Unavailable(f"Milvus at {self.address.uri} does not answer.", retry_after_s=1.0) from error
        except BaseException:
            self.breaker.left()
            raise
        self.breaker.passed()
        return answer

    async def read(self, collection: str, step: Callable[[AsyncMilvusClient], Awaitable[T]]) -> T:
        """What Milvus answers out of a collection, which is loaded first where it is not, as after a restart."""
        try:
            return await self.call(step)
        except Internal as refused:
            if getattr(refused.__cause__, "code", None) != NOT_LOADED:
                raise
        await self.call(lambda client: client.load_collection(collection, retry_times=0))
        return await self.call(step)

    async def search(
        self, dimensions: int, queries: Sequence[str] | Vectors, depth: int, chosen: str
    ) -> list[list[tuple[int, float, str]]]:
        """Row, score and name key of the best passages of each query, by words or by vector, best first."""
        sparse = not hasattr(queries, "dtype")
        depth = min(depth, MAX_HITS)
        params = {} if sparse or self.options.index != "HNSW" else {"ef": max(depth, self.options.ef)}
        found = await self.read(
            self.passages(dimensions),
            lambda client: client.search(
                self.passages(dimensions),
                list(queries),
                filter=chosen,
                limit=depth,
                output_fields=["name_key"],
                search_params={"metric_type": "BM25" if sparse else "IP", "params": params},
                anns_field="sparse" if sparse else "vector",
                consistency_level=STRONG,
                retry_times=0,
            ),
        )
        return [
            [(int(hit["id"]), float(hit["distance"]), str(hit["entity"]["name_key"])) for hit in hits]
            for hits in found
        ]

    async def query(self, collection: str, chosen: str, fields: Sequence[str]) -> list[Fields]:
        """All rows that a condition names; for conditions that name few."""
        found = await self.read(
            collection,
            lambda client: client.query(
                collection, filter=chosen, output_fields=list(fields), consistency_level=STRONG, retry_times=0
            ),
        )
        return [dict(each) for each in found]

    async def rows(self, collection: str, ids: Sequence[int], fields: Sequence[str]) -> list[Fields]:
        """The rows of those numbers that are there."""
        found: list[Fields] = []
        for start in range(0, len(ids), WRITE_ROWS):
            found += await self.query(collection, ids_in(ids[start : start + WRITE_ROWS]), fields)
        return found

    async def scan(self, collection: str, chosen: str, fields: Sequence[str]) -> AsyncIterator[list[Fields]]:
        """All rows that a condition names, however many, by number."""
        last = -1
        while True:
            where = f"id > {last}" + (f" and {chosen}" if chosen else "")
            found = await self.read(
                collection,
                lambda client, where=where: client.query(  # type: ignore[misc]  # a default that fits
                    collection,
                    filter=where,
                    output_fields=["id", *fields],
                    limit=SCAN_ROWS,
                    consistency_level=STRONG,
                    retry_times=0,
                    iterator="True",
                    reduce_stop_for_best="True",
                ),
            )
            if not found:
                return
            rows = sorted((dict(each) for each in found), key=lambda each: int(each["id"]))
            yield rows
            last = int(rows[-1]["id"])

    async def count(self, collection: str, chosen: str) -> int:
        """How many rows a condition names."""
        found = await self.query(collection, chosen, ["count(*)"])
        return int(found[0]["count(*)"]) if found else 0

    async def insert(self, collection: str, rows: Sequence[Fields]) -> None:
        """Add rows; returns when they are durable."""
        for start in range(0, len(rows), WRITE_ROWS):
            part = list(rows[start : start + WRITE_ROWS])
            await self.call(lambda client, part=part: client.insert(collection, part, retry_times=0))  # type: ignore[misc]

    async def delete(self, collection: str, ids: Sequence[int]) -> None:
        """Take rows out; numbers that nobody has are no error."""
        for start in range(0, len(ids), DELETE_ROWS):
            chosen = ids_in(ids[start : start + DELETE_ROWS])
            await self.call(lambda client, chosen=chosen: client.delete(collection, filter=chosen, retry_times=0))  # type: ignore[misc]

    async def dimensions(self) -> list[int]:
        """Of the collections of passages that there are."""
        begin = self.passages(0)[:-1]
        names = await self.call(lambda client: client.list_collections(retry_times=0))
        return sorted(int(n[len(begin) :]) for n in names if n.startswith(begin) and n[len(begin) :].isdecimal())

    async def ready(self, dimensions: Sequence[int] = ()) -> None:
        """Make the collections that are missing, those of passages for vectors of these lengths, too."""
        wanted = {self.documents: documents(), self.sources: sources()}
        known = self.options
        wanted |= {self.passages(each): passages(each, known.index, known.build) for each in dimensions}
        if self.made.issuperset(wanted):
            return
        async with self.making:
            for name, layout in wanted.items():
                if name not in self.made:
                    await self.make(name, layout)
                    self.made.add(name)

    async def make(self, name: str, layout: Layout) -> None:
        """One collection with its indexes, loaded; another retriever may be at it, too."""
        tokenizers = ["whitespace", "standard"]  # milvus-lite has the second only; our terms are alike to both
        while not await self.call(lambda client: client.has_collection(name, retry_times=0)):
            made = layout.schema(tokenizers[0])
            try:
                await self.call(
                    lambda client, made=made: client.create_collection(  # type: ignore[misc]
                        name,
                        schema=made,
                        num_partitions=self.options.partitions,
                        consistency_level=STRONG,
                        retry_times=0,
                    )
                )
            except Internal as refused:
                if "tokenizer" in refused.detail and len(tokenizers) > 1:
                    tokenizers.pop(0)
                elif "exist" not in refused.detail:
                    raise
        for one, needed in layout.indexes:
            try:
                await self.call(lambda client, one=one: indexed(client, name, one))  # type: ignore[misc]
            except Internal as refused:  # milvus-lite has none over arrays; it searches them all the same
                if "already exist" in refused.detail:
                    continue
                if needed:
                    raise
                log.info("milvus makes no such index", collection=name, why=refused.detail)
        await self.call(lambda client: client.load_collection(name, retry_times=0))

    async def close(self) -> None:
        """Let go of the connection."""
        await self.client.close()


async def indexed(client: AsyncMilvusClient, name: str, one: Any) -> None:
    """Make an index, where it is not there."""
    try:
        await client.create_index(name, one, retry_times=0)
    except grpc.RpcError as error:
        # milvus-lite has built it by now; it lacks the call that a client waits with.
        if error.code() != grpc.StatusCode.UNIMPLEMENTED:
            raise


def ids_in(ids: Sequence[int]) -> str:
    """The condition for rows of these numbers."""
    return f"id in {json.dumps([int(each) for each in ids])}"


def away(error: BaseException) -> bool:
    """Whether it means that Milvus cannot be asked now, rather than that one call was wrong."""
    if isinstance(error, grpc.RpcError):
        return error.code() in AWAY
    return not isinstance(error, MilvusException) or error.code in AWAY_CODES
