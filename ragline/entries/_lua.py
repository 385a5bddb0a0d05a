"""What Redis does to a list in one step: Lua over the key of one list, with the server's own clock."""

from __future__ import annotations

TOKEN = 6  # bytes of chance that tell an entry from an equal one
MARK = 16  # before each entry: the token, the word below, and 6 bytes for when its list ends, in ms since 1970

# A lasting list has no time to live in Redis, which drops what has one when memory is short (``volatile-lru``).
# The last entry says when a list ends. Lists of earlier releases have a time to live and random marks (UUIDs of
# version 4), which are never taken for those with the word: their seventh byte is 0x40 to 0x4f.
MARKS = """
local WORD = '\\0end'
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local function marked(token, ends) return token .. WORD .. struct.pack('>I6', ends) end
local function ends(last)
  if last and string.sub(last, 7, 10) == WORD then return (struct.unpack('>I6', last, 11)) end
end
local function over(key)
  local at = ends(redis.call('LINDEX', key, -1))
  return at ~= nil and at <= now
end
"""

# Safe to be sent twice (a connection may break after the server took it): an entry whose token is among the last
# ones is there already.
APPEND = (
    MARKS
    + """
if over(KEYS[1]) then redis.call('UNLINK', KEYS[1]) end
for _, entry in ipairs(redis.call('LRANGE', KEYS[1], -16, -1)) do
  if string.sub(entry, 1, 6) == ARGV[1] then return 0 end
end
redis.call('RPUSH', KEYS[1], marked(ARGV[1], now + ARGV[4]) .. ARGV[2])
redis.call('LTRIM', KEYS[1], -tonumber(ARGV[3]), -1)
if ARGV[5] == '1' then redis.call('PERSIST', KEYS[1]) else redis.call('PEXPIRE', KEYS[1], ARGV[4]) end
return 1
"""
)
READ = MARKS + "if over(KEYS[1]) then return {} end return redis.call('LRANGE', KEYS[1], 0, -1)"
DELETE = (
    MARKS
    + """
local there = redis.call('EXISTS', KEYS[1]) == 1 and not over(KEYS[1])
redis.call('UNLINK', KEYS[1])
return there and 1 or 0
"""
)

# Whether each is one of our lists and not over. What is over goes; a list of an earlier release becomes like the
# others, unless there is no memory for it. What others keep under the same prefix is left alone.
LOOK = (
    MARKS
    + """
local function older(last)
  return #last >= 16 and math.floor(string.byte(last, 7) / 16) == 4 and math.floor(string.byte(last, 9) / 64) == 2
end
local function look(key)
  local last = redis.call('LINDEX', key, -1)
  if not last then return 0 end
  local at, left = ends(last), redis.call('PTTL', key)
  if at and at <= now then
    redis.call('UNLINK', key)
    return 0
  end
  if at or not older(last) then return at and 1 or 0 end
  if left > 0 then
    local new = marked(string.sub(last, 1, 6), now + left) .. string.sub(last, 17)
    if not redis.pcall('LSET', key, -1, new).err then redis.call('PERSIST', key) end
  end
  return 1
end
local found = {}
for at, key in ipairs(KEYS) do found[at] = look(key) end
return found
"""
)
