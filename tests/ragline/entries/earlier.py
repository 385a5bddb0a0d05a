"""Writes lists to Redis as earlier releases did: with a time to live there, and marks that say nothing."""

import uuid

from ragline import redis_client

APPEND = """
for _, entry in ipairs(redis.call('LRANGE', KEYS[1], -16, -1)) do
  if string.sub(entry, 1, 16) == ARGV[1] then return 0 end
end
redis.call('RPUSH', KEYS[1], ARGV[1] .. ARGV[2])
redis.call('LTRIM', KEYS[1], -tonumber(ARGV[3]), -1)
redis.call('PEXPIRE', KEYS[1], ARGV[4])
return 1
"""


async def append_as_earlier(url: str, key: str, entry: bytes, *, ttl_s: float) -> None:
    """Put an entry at the end of a list, of which the newest 100 stay."""
    server = redis_client.open(url)
    async with server.guard(20.0) as client:
        name = server.prefix + key
        await client.eval(APPEND, 1, name, uuid.uuid4().bytes, entry, 100, round(ttl_s * 1000))
    await server.close()
