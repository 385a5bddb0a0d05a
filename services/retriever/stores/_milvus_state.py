"""What retrievers over one Milvus share in Redis: numbers, generations, counts, and who may write a collection.

All of it can be made anew from Milvus, and is where Redis has lost it: ``epoch`` names one such life.
"""

from __future__ import annotations

import json
import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from redis.exceptions import RedisError

from ragline import redis_client
from ragline.errors import Unavailable
from ragline.sequence import microseconds
from services.retriever.stores import Key

BATCH = 5000  # entries that one command carries

LESS = "local function less(a, b) if #a ~= #b then return #a < #b end return a < b end "
# Numbers are compared as text: Lua's own are exact up to 2^53 only.
TAKEN = """
local function taken(key, count, ...)
  local last = redis.call('GET', key) or '0'
  for _, other in ipairs({...}) do if less(last, other) then last = other end end
  redis.call('SET', key, last)
  redis.call('INCRBY', key, count)
  return last
end
"""
TAKE = (
    LESS
    + TAKEN
    + """
if redis.call('EXISTS', KEYS[1]) == 0 then return false end
return taken(KEYS[2], ARGV[1], ARGV[2], ARGV[3])
"""
)
LOOK = """
local epoch = redis.call('GET', KEYS[1])
if not epoch then return false end
return {epoch, redis.call('HGETALL', KEYS[2])}
"""
ACQUIRE = """
if ARGV[3] == '' and redis.call('EXISTS', KEYS[1]) == 0 then return false end
if not redis.call('SET', KEYS[2], ARGV[1], 'NX', 'PX', ARGV[2]) then return {} end
return {redis.call('HGETALL', KEYS[3]), redis.call('GET', KEYS[4]) or ''}
"""
MINE = "if redis.call('GET', KEYS[1]) ~= ARGV[1] then return false end "
EXTEND = MINE + "redis.call('PEXPIRE', KEYS[1], ARGV[2]) return 1"
RELEASE = MINE + "redis.call('DEL', KEYS[1]) return 1"
BEGIN = (
    LESS
    + TAKEN
    + MINE
    + """
local last = taken(KEYS[2], ARGV[2], ARGV[3])
redis.call('SET', KEYS[3], last .. ' ' .. ARGV[2] .. ' ' .. ARGV[4])
return last
"""
)
FINISH = (
    MINE
    + """
redis.call('HSET', KEYS[2], unpack(cjson.decode(ARGV[2])))
for _, each in ipairs(cjson.decode(ARGV[3])) do
  if redis.call('HINCRBY', KEYS[3], each[1], each[2]) <= 0 then redis.call('HDEL', KEYS[3], each[1]) end
end
for _, name in ipairs(cjson.decode(ARGV[4])) do redis.call('ZADD', KEYS[4], 0, name) end
for _, name in ipairs(cjson.decode(ARGV[5])) do redis.call('ZREM', KEYS[4], name) end
redis.call('SET', KEYS[5], ARGV[6])
if ARGV[8] ~= '' then redis.call('HSET', KEYS[6], ARGV[7], ARGV[8]) end
return 1
"""
)
DONE = MINE + "redis.call('DEL', KEYS[2]) return 1"
CLEAR = MINE + "redis.call('DEL', KEYS[1], KEYS[2]) return 1"
REPLACE = (
    MINE
    + """
redis.call('DEL', KEYS[2], KEYS[3], KEYS[4], KEYS[5])
if redis.call('EXISTS', KEYS[7]) == 1 then redis.call('RENAME', KEYS[7], KEYS[3]) end
if redis.call('EXISTS', KEYS[8]) == 1 then redis.call('RENAME', KEYS[8], KEYS[4]) end
if ARGV[3] ~= '' then
  redis.call('HSET', KEYS[2], unpack(cjson.decode(ARGV[2])))
  redis.call('HSET', KEYS[6], ARGV[4], ARGV[3])
end
return 1
"""
)


class Lost(Exception):
    """Redis knows nothing of this store, or no more; Milvus can tell it."""


@dataclass(frozen=True)
class State:
    """A collection as Redis knows it; ``generation`` 0: there is none."""

    generation: int = 0
    passages: int = 0
    documents: int = 0
    fingerprint: str = ""
    dimensions: int = 0

    def fields(self) -> list[str]:
        """As Redis keeps it."""
        return [str(each) for pair in vars(self).items() for each in pair]


@dataclass(frozen=True)
class Lease:
    """Leave to write a collection, while it lasts; ``intent`` is what a writer before left unfinished."""

    place: str
    token: str
    state: State
    intent: str


@dataclass(frozen=True)
class Outcome:
    """What a group of writes did, to be told at once; ``counts`` by word piece, ``intent``: what is left to do."""

    state: State
    counts: Mapping[int, int]
    added: Sequence[str]
    removed: Sequence[str]
    intent: str


class Shared:
    """The keys of one store; belongs to one event loop. Each method raises Unavailable where Redis is away."""

    def __init__(self, server: redis_client.Server, name: str, lease_s: float) -> None:
        self.server = server
        self.base = f"{server.prefix}{{{name}-store}}:"  # one slot of a Redis Cluster, for scripts
        self.lease_ms = max(1, round(lease_s * 1000))

    def key(self, kind: str, place: str = "") -> str:
        """A key's full name."""
        return self.base + kind + (f":{place}" if place else "")

    async def run(self, script: str, keys: Sequence[str], *arguments: object) -> Any:
        """What a script answers."""
        return await self.ask("eval", script, len(keys), *keys, *[str(each) for each in arguments])

    async def ask(self, command: str, *arguments: Any) -> Any:
        """What a command answers; a Redis that refuses it (no memory left) counts as one that is away."""
        try:
            async with self.server.guard() as client:
                return await getattr(client, command)(*arguments)
        except RedisError as error:
            raise Unavailable(f"{self.server.address.name} refuses a command ({error}).") from error

    async def take(self, count: int, seen: int = 0) -> int:
        """The first of ``count`` numbers for writes, greater than all so far and than ``seen``; raises Lost."""
        keys = [self.key("epoch"), self.key("numbers")]
        last = await self.run(TAKE, keys, count, microseconds() - 1, seen)
        if last is None:
            raise Lost
        return int(last) + 1

    async def look(self, place: str) -> tuple[str, State]:
        """The epoch and a collection's state; raises Lost."""
        found = await self.run(LOOK, [self.key("epoch"), self.key("c", place)])
        if found is None:
            raise Lost
        return text(found[0]), state_of(found[1])

    async def epoch(self) -> str:
        """The life that Redis is in; raises Lost."""
        found = await self.ask("get", self.key("epoch"))
        if found is None:
            raise Lost
        return text(found)

    async def collections(self) -> dict[str, Key]:
        """All of them, by place."""
        found = await self.ask("hgetall", self.key("collections"))
        return {text(place): Key(*json.loads(key)) for place, key in found.items()}

    async def counts(self, place: str, token_ids: Sequence[int]) -> list[int]:
        """How many passages hold each word piece."""
        found = await self.ask("hmget", self.key("f", place), list(token_ids)) if token_ids else []
        return [int(each or 0) for each in found]

    async def all_counts(self, place: str) -> dict[int, int]:
        """How many passages hold each word piece that any holds."""
        found = await self.ask("hgetall", self.key("f", place))
        return {int(piece): int(count) for piece, count in found.items()}

    async def names(self, place: str, after: str, limit: int) -> list[str]:
        """At most ``limit`` ids of documents that come after ``after``, in order of their code points."""
        least = f"({after}" if after else "-"
        found = await self.ask("zrangebylex", self.key("n", place), least, "+", 0, limit)
        return [text(each) for each in found]

    async def acquire(self, place: str, *, lost: bool = False) -> Lease | None:
        """Leave to write a collection, or None while another has it; raises Lost, unless that is being mended."""
        token = uuid.uuid4().hex
        keys = [self.key("epoch"), *(self.key(kind, place) for kind in ("lease", "c", "intent"))]
        found = await self.run(ACQUIRE, keys, token, self.lease_ms, "lost" if lost else "")
        if found is None:
            raise Lost
        return Lease(place, token, state_of(found[0]), text(found[1])) if found else None

    async def mine(self, lease: Lease, script: str, keys: Sequence[str], *arguments: object) -> Any:
        """What a script answers that the lease's holder may run; raises Unavailable where it ran out."""
        found = await self.run(script, [self.key("lease", lease.place), *keys], lease.token, *arguments)
        if found is None:
            raise Unavailable("Another retriever took over this collection's writes; send it again.")
        return found

    async def extend(self, lease: Lease) -> None:
        """Hold it for its whole time again."""
        await self.mine(lease, EXTEND, (), self.lease_ms)

    async def release(self, lease: Lease) -> None:
        """Let the next writer go."""
        await self.run(RELEASE, [self.key("lease", lease.place)], lease.token)

    async def begin(self, lease: Lease, count: int, names: Sequence[str]) -> int:
        """The first of ``count`` row numbers that nothing ever had; notes what is about to be written."""
        keys = [self.key("rows"), self.key("intent", lease.place)]
        noted = json.dumps(list(names), ensure_ascii=False)
        return int(await self.mine(lease, BEGIN, keys, count, microseconds() - 1, noted)) + 1

    async def finish(self, lease: Lease, key: Key, done: Outcome) -> None:
        """Tell all replicas what was written."""
        place = lease.place
        keys = [*(self.key(kind, place) for kind in ("c", "f", "n", "intent")), self.key("collections")]
        name = json.dumps([key.tenant, key.collection], ensure_ascii=False) if done.state.generation else ""
        arguments = [done.state.fields(), list(done.counts.items()), list(done.added), list(done.removed)]
        told = [json.dumps(each, ensure_ascii=False) for each in arguments]
        if not name:
            told[0] = json.dumps(["generation", "0"])
        await self.mine(lease, FINISH, keys, *told, done.intent, place, name)

    async def done(self, lease: Lease) -> None:
        """Nothing is left to do of what the last writer had in hand."""
        await self.mine(lease, DONE, [self.key("intent", lease.place)])

    async def clear(self, lease: Lease) -> None:
        """Nothing is left to do; the next writer may go."""
        await self.mine(lease, CLEAR, [self.key("intent", lease.place)])

    async def replace(
        self, lease: Lease, key: Key, state: State, counts: Mapping[int, int], names: Sequence[str]
    ) -> None:
        """Know of a collection what Milvus holds, and nothing else."""
        place, new = lease.place, uuid.uuid4().hex
        fresh = [self.key(f"new-{kind}-{new}", place) for kind in ("f", "n")]
        for start in range(0, len(counts), BATCH):
            part = dict(list(counts.items())[start : start + BATCH])
            await self.ask("hset", fresh[0], None, None, part)
        for start in range(0, len(names), BATCH):
            await self.ask("zadd", fresh[1], dict.fromkeys(names[start : start + BATCH], 0))
        keys = [*(self.key(kind, place) for kind in ("c", "f", "n", "intent")), self.key("collections"), *fresh]
        name = json.dumps([key.tenant, key.collection], ensure_ascii=False) if state.generation else ""
        await self.mine(lease, REPLACE, keys, json.dumps(state.fields()), name, place)

    async def mending(self, token: str, seconds: float) -> bool:
        """Whether making everything anew is now the caller's work."""
        return bool(await self.ask("set", self.key("mending"), token, None, round(seconds * 1000), True))

    async def give_up(self) -> None:
        """Let another make everything anew."""
        await self.ask("delete", self.key("mending"))

    async def still_mending(self, seconds: float) -> None:
        """The work of making everything anew goes on."""
        await self.ask("pexpire", self.key("mending"), round(seconds * 1000))

    async def live(self, number: int, row: int) -> str:
        """Begin a life of Redis that goes on behind these numbers; its name."""
        for kind, last in (("numbers", number), ("rows", row)):
            script = LESS + TAKEN + "return taken(KEYS[1], 0, ARGV[1])"
            await self.run(script, [self.key(kind)], last)
        epoch = uuid.uuid4().hex
        await self.ask("set", self.key("epoch"), epoch)
        await self.ask("delete", self.key("mending"))
        return epoch


def state_of(flat: Sequence[bytes]) -> State:
    """What ``State.fields`` gave."""
    found = {text(name): text(value) for name, value in zip(flat[::2], flat[1::2], strict=True)}
    if not int(found.get("generation", 0)):
        return State()
    numbers = {name: int(found[name]) for name in ("generation", "passages", "documents", "dimensions")}
    return State(**numbers, fingerprint=found["fingerprint"])


def text(given: bytes | str) -> str:
    """What Redis answered, as text."""
    return given.decode() if isinstance(given, bytes) else given
