"""What a Redis server does in one piece for a store: scripts that nothing comes between, each whole or, refused, nothing of it.

All of them look at the head first: one that is not the store's that was opened answers ``replaced``. A record is text: a
checksum, a space, and what it says; the checksum is the beginning of SHA-1 (the one hash that a script has) over the sequence,
a space and the rest, so that a record under another sequence is a changed one. Numbers of a script are floats: sequences end at
2^53.
"""

from __future__ import annotations

import hashlib
from functools import cache

__all__ = [
    "ADD_INTERACTIONS",
    "ADD_ITEMS",
    "CHECKSUM_LETTERS",
    "COMPACT",
    "HEAD",
    "HISTORIES",
    "OPEN",
    "PAGE",
    "TOUCH",
    "digest",
]

CHECKSUM_LETTERS = 16

# keys: head, items, interactions, last-of-item, superseded. arguments: application, format, a new identity, item kind, user
# kind, whether to make one
OPEN = """
local type = redis.call('TYPE', KEYS[1])['ok']
if type == 'none' then
    if ARGV[6] == '0' then return {'none'} end
    redis.call('HSET', KEYS[1], 'application', ARGV[1], 'format', ARGV[2], 'identity', ARGV[3], 'item_kind', ARGV[4],
        'user_kind', ARGV[5], 'items_last', '0', 'items_count', '0', 'interactions_last', '0')
elseif type ~= 'hash' then
    return {'foreign'}
end
local head = redis.call('HMGET', KEYS[1], 'application', 'format', 'identity', 'item_kind', 'user_kind', 'items_last',
    'items_count', 'interactions_last')
if head[1] ~= ARGV[1] then return {'foreign'} end
if head[2] ~= ARGV[2] then return {'format', head[2] or ''} end
local found = {}
for n = 2, 3 do
    local last = redis.call('XREVRANGE', KEYS[n], '+', '-', 'COUNT', 1)[1]
    found[n] = {redis.call('XLEN', KEYS[n]), last and last[1] or '0-0'}
end
return {'ok', head, found[2], found[3]}
"""

# keys: head. arguments: identity. Writes what is there, so that a server that refuses to write says so when a store is opened
TOUCH = """
if redis.call('HGET', KEYS[1], 'identity') ~= ARGV[1] then return {'replaced'} end
redis.call('HSET', KEYS[1], 'identity', ARGV[1])
return {'ok'}
"""

# keys: head. arguments: identity
HEAD = """
local head = redis.call('HMGET', KEYS[1], 'identity', 'items_last', 'interactions_last', 'items_count')
if head[1] ~= ARGV[1] then return {'replaced'} end
return {'ok', head[2], head[3], head[4]}
"""

_BEGUN = """
local done = redis.call('GET', KEYS[3])
if done then return {'ok', done} end
local head = redis.call('HMGET', KEYS[1], 'identity', '%(last)s', 'items_count')
if head[1] ~= ARGV[1] then return {'replaced'} end
local last = tonumber(head[2])
local tail = redis.call('XREVRANGE', KEYS[2], '+', '-', 'COUNT', 1)[1]
if not last or (tail and tail[1] or '0-0') ~= string.format('%%.0f-0', last) then return {'damaged'} end
local function record(number, said)
    return string.sub(redis.sha1hex(number .. ' ' .. said), 1, 16) .. ' ' .. said
end
"""

# A call that is made again, since its answer was lost, finds its own note and answers as the first time.
_ENDED = """
redis.call('SET', KEYS[3], string.format('%%.0f', last), 'PX', ARGV[2])
return {'ok', string.format('%%.0f', last)}
"""

# keys: head, items, note of the call, last-of-item, superseded. arguments: identity, ms of the note; item and record of each
ADD_ITEMS = (
    (_BEGUN % {"last": "items_last"})
    + """
for n = 3, #ARGV, 2 do
    last = last + 1
    local number = string.format('%.0f', last)
    redis.call('XADD', KEYS[2], number .. '-0', 'r', record(number, ARGV[n + 1]))
    local before = redis.call('HGET', KEYS[4], ARGV[n])
    if before then redis.call('RPUSH', KEYS[5], before) end
    redis.call('HSET', KEYS[4], ARGV[n], number)
end
redis.call('HSET', KEYS[1], 'items_last', string.format('%.0f', last),
    'items_count', string.format('%.0f', tonumber(head[3]) + (#ARGV - 2) / 2))
"""
    + (_ENDED % ())
)

# keys: head, interactions, note of the call, histories. arguments: identity, ms of the note; which history, the time that it is
# ordered by or nothing, and what it says, of each. Without a time it happened when it came: at the latest time of its user.
ADD_INTERACTIONS = (
    (_BEGUN % {"last": "interactions_last"})
    + """
for n = 3, #ARGV, 3 do
    local key, at = KEYS[3 + tonumber(ARGV[n])], ARGV[n + 1]
    if at == '' then at = redis.call('ZREVRANGE', key, 0, 0, 'WITHSCORES')[2] or '-inf' end
    last = last + 1
    local number = string.format('%.0f', last)
    local text = record(number, at .. ' ' .. ARGV[n + 2])
    redis.call('XADD', KEYS[2], number .. '-0', 'r', text)
    redis.call('ZADD', key, at, string.format('%019.0f ', last) .. text)
end
redis.call('HSET', KEYS[1], 'interactions_last', string.format('%.0f', last))
"""
    + (_ENDED % ())
)

# keys: head, a log. arguments: identity, the first sequence, how many
PAGE = """
if redis.call('HGET', KEYS[1], 'identity') ~= ARGV[1] then return {'replaced'} end
local found = {'ok'}
for _, entry in ipairs(redis.call('XRANGE', KEYS[2], ARGV[2] .. '-0', '+', 'COUNT', ARGV[3])) do
    found[#found + 1] = entry[1]
    found[#found + 1] = entry[2][2]
end
return found
"""

# keys: head, histories. arguments: identity, how many of each at most (0: all), the sequence after which they count, 19 digits.
# Members begin with their sequence in 19 digits, so that what has the same time is in the order of arrival.
HISTORIES = """
if redis.call('HGET', KEYS[1], 'identity') ~= ARGV[1] then return {'replaced'} end
local most, after, answer = tonumber(ARGV[2]), ARGV[3], {'ok'}
local all = tonumber(after) == 0
for n = 2, #KEYS do
    local found, start = {}, 0
    local page = all and most or 500
    repeat
        local entries = redis.call('ZREVRANGE', KEYS[n], start, start + page - 1, 'WITHSCORES')
        if all then
            found = entries
            break
        end
        for m = 1, #entries, 2 do
            if string.sub(entries[m], 1, 19) > after and (most == 0 or #found < 2 * most) then
                found[#found + 1] = entries[m]
                found[#found + 1] = entries[m + 1]
            end
        end
        start = start + page
    until #entries < 2 * page or (most > 0 and #found >= 2 * most)
    answer[#answer + 1] = found
end
return answer
"""

# keys: head, items, superseded. arguments: identity, how many at most
COMPACT = """
if redis.call('HGET', KEYS[1], 'identity') ~= ARGV[1] then return {'replaced'} end
local numbers = redis.call('LRANGE', KEYS[3], 0, tonumber(ARGV[2]) - 1)
local forgotten = 0
for _, number in ipairs(numbers) do
    forgotten = forgotten + redis.call('XDEL', KEYS[2], number .. '-0')
end
if #numbers > 0 then
    redis.call('LTRIM', KEYS[3], #numbers, -1)
    redis.call('HINCRBY', KEYS[1], 'items_count', -forgotten)
end
return {'ok', #numbers, forgotten}
"""


@cache
def digest(script: str) -> str:
    """The name by which a server that has run a script knows it."""
    return hashlib.sha1(script.encode(), usedforsecurity=False).hexdigest()
