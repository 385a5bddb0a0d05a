"""What Redis does to a job in one step: a Lua program over the keys of that job, which share a hash slot."""

from __future__ import annotations

from services.preprocess.jobs import MAX_ERRORS, State

CODES = {state: code for code, state in enumerate(State)}
STATES = {code: state for state, code in CODES.items()}
"""How a state is written: as one byte a document or part, and as the field ``s<code>`` that counts them."""

CONSTANTS = f"""
local MAX_ERRORS, QUEUED, RUNNING = {MAX_ERRORS}, {CODES[State.QUEUED]}, {CODES[State.RUNNING]}
local FAILED, PARKED = {CODES[State.FAILED]}, {CODES[State.PARKED]}
local CANCELLED, ASSUMED = {CODES[State.CANCELLED]}, {CODES[State.ASSUMED]}
"""
STEPS = """
-- head: fields of the job, counts by state (s0, s1, ...), of each file of many its parts (all:n, left:n)
-- docs: a byte a document, its state; errors: field n.part, value JSON
-- base .. ':parts:' .. n: a byte a part that has ended, its state
-- An ended job may be dropped when memory is short, so it is one key, which goes as a whole: fields of the head
-- hold what the other keys held: docs, error:n.part, ended:n.
local base, head, docs, errors = KEYS[1], KEYS[1] .. ':head', KEYS[1] .. ':docs', KEYS[1] .. ':errors'
local op, now, ttl, tenant, collection, total, created = unpack(ARGV, 1, 7)
local call, index = redis.call, 0

local function field(name) return tonumber(call('HGET', head, name) or '0') end
local function open(state) return state == QUEUED or state == RUNNING end
local function broken(state) return state == FAILED or state == PARKED end
local function count(state, by) if by ~= 0 then call('HINCRBY', head, 's' .. state, by) end end
local function parts(n) return base .. ':parts:' .. n end
local function byte(key, at)
  local found = call('GETRANGE', key, at, at)
  return found == '' and 0 or string.byte(found)
end

local function ensure()
  if call('EXISTS', head) == 1 then return end
  call('HSET', head, 'tenant', tenant, 'collection', collection, 'total', total, 'created_at', created,
    'open', total, 's' .. QUEUED, total, 'restored', 1)
  call('DEL', docs, errors)  -- of an earlier release, whose ended jobs were dropped key by key
  index = 1
end

-- a file of many weighs as many documents as it has parts that have not ended
local function weight(n)
  local left = call('HGET', head, 'left:' .. n)
  return left and tonumber(left) or 1
end

local function note(n, part, json)
  local name = string.format('%08d.%08d', n, part)
  if json == '' then call('HDEL', errors, name)
  elseif call('HLEN', errors) < MAX_ERRORS or call('HEXISTS', errors, name) == 1 then
    call('HSET', errors, name, json)
  end
end

local function move(n, from, to, json)
  local many = weight(n)
  count(from, -many)
  count(to, many)
  call('SETRANGE', docs, n, string.char(to))
  call('HINCRBY', head, 'open', (open(to) and 1 or 0) - (open(from) and 1 or 0))
  if broken(from) then note(n, 0, '') end
  if broken(to) and many > 0 then note(n, 0, json) end
end

local function ended() return call('HEXISTS', head, 'finished_at') == 1 end

local function files()
  local found = {}
  for _, name in ipairs(call('HKEYS', head)) do
    if string.sub(name, 1, 4) == 'all:' then found[#found + 1] = string.sub(name, 5) end
  end
  return found
end

local function move_bytes(key, name)
  local bytes = call('GET', key)
  if bytes then call('HSET', head, name, bytes) end
  call('DEL', key)
end

local function gather()
  local noted = call('HGETALL', errors)
  for at = 1, #noted, 2 do call('HSET', head, 'error:' .. noted[at], noted[at + 1]) end
  move_bytes(docs, 'docs')
  for _, n in ipairs(files()) do move_bytes(parts(n), 'ended:' .. n) end
  call('DEL', errors)
end

local function spread()
  local fields = call('HGETALL', head)
  for at = 1, #fields, 2 do
    local name, value = fields[at], fields[at + 1]
    local kind, rest = string.match(name, '^(%a+):?(.*)$')
    if name == 'docs' then call('SET', docs, value)
    elseif kind == 'error' then call('HSET', errors, rest, value)
    elseif kind == 'ended' then call('SET', parts(rest), value)
    else kind = nil end
    if kind then call('HDEL', head, name) end
  end
end

local function changed()
  call('HINCRBY', head, 'version', 1)
  if field('open') > 0 then
    if ended() then
      call('HDEL', head, 'finished_at')
      for _, key in ipairs({head, docs, errors}) do call('PERSIST', key) end
      for _, n in ipairs(files()) do call('PERSIST', parts(n)) end
      index = 1
    end
  else
    if not ended() then call('HSET', head, 'finished_at', now) end
    call('EXPIRE', head, ttl)
    index = -1
  end
end

local function states()
  local written, found = call('GET', docs) or '', {}
  for n = 0, field('total') - 1 do found[n] = string.byte(written, n + 1) or QUEUED end
  return found
end

local ops = {}

function ops.create()
  ensure()
  call('HDEL', head, 'restored')
  for at = 8, #ARGV, 2 do
    local n = tonumber(ARGV[at])
    local state = byte(docs, n)
    if open(state) then move(n, state, FAILED, ARGV[at + 1]) end
  end
  index = 1
  changed()
  return 0
end

function ops.begin()
  ensure()
  local n = tonumber(ARGV[8])
  local before = byte(docs, n)
  if not (open(before) or before == PARKED or before == ASSUMED) then return before end
  local after = field('cancelled') == 1 and CANCELLED or RUNNING
  move(n, before, after, '')
  changed()
  return after
end

function ops.expand()
  ensure()
  local n, all = ARGV[8], tonumber(ARGV[9])
  local known = call('HGET', head, 'all:' .. n)
  local more = all - (known and tonumber(known) or 1)
  call('HSET', head, 'all:' .. n, all, 'left:' .. n, weight(n) + more)
  count(byte(docs, tonumber(n)), more)
  changed()
  return call('GET', parts(n)) or ''
end

function ops.part()
  ensure()
  local n, part, state = ARGV[8], tonumber(ARGV[9]), tonumber(ARGV[10])
  if call('HEXISTS', head, 'all:' .. n) == 1 and byte(parts(n), part - 1) == 0 then
    call('SETRANGE', parts(n), part - 1, string.char(state))
    call('HINCRBY', head, 'left:' .. n, -1)
    count(byte(docs, tonumber(n)), -1)
    count(state, 1)
    if broken(state) then note(n, part, ARGV[11]) end
  end
  changed()
  return 0
end

function ops.finish()
  ensure()
  local n, state = tonumber(ARGV[8]), tonumber(ARGV[9])
  local before = byte(docs, n)
  if open(before) or before == PARKED or before == ASSUMED then move(n, before, state, ARGV[10]) end
  changed()
  return 0
end

function ops.park()
  ensure()
  local n = tonumber(ARGV[8])
  local before = byte(docs, n)
  if open(before) then move(n, before, PARKED, ARGV[9]) end
  changed()
  return 0
end

function ops.cancel()
  if call('EXISTS', head) == 0 or ended() then return 0 end
  call('HSET', head, 'cancelled', 1)
  for n, state in pairs(states()) do
    if state == QUEUED then move(n, QUEUED, CANCELLED, '') end
  end
  changed()
  return 0
end

function ops.assume()
  index = -1
  if call('EXISTS', head) == 0 or ended() then return 0 end
  index = 0
  local gone = 0
  for n, state in pairs(states()) do
    if state == QUEUED or (state == RUNNING and ARGV[8] == '1') then
      move(n, state, ASSUMED, '')
      gone = gone + 1
    end
  end
  if gone > 0 then changed() end
  return gone
end

if ended() then spread() end
local result = ops[op]()
if ended() then gather() end
return {result, index}
"""
PROGRAM = CONSTANTS + STEPS
