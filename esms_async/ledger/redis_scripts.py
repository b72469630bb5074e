"""The Lua scripts of the Redis ledger, with the transitions of `esms_async.settlement` in them.

A script runs on the server in one piece, on the server's clock, so that the claims of any number
of processes come in one order. Its tables are rendered from those of the Python module; the lines
around them say what `settlement.claim` and `settlement.settle` say.

An entry is a hash whose fields are named as those of `Entry`, all of them texts; what is None or
False has no field. A sorted set, in which all have one score, keeps the RequestIds of the open
ones in their order. A reply is one JSON text, which is read faster than one of many parts.
"""

import hashlib
import json
from collections.abc import Mapping
from string import Template
from typing import Final

import attrs

from esms_async.settlement import (
    CLAIMS,
    CLOCK_TOLERANCE,
    KEY_ID_LENGTH,
    SETTLEMENTS,
    Decision,
    News,
    Settlement,
    State,
)

LEARNT: Final = tuple(field.name for field in attrs.fields(Settlement) if field.name != "news")
"""The fields of an entry that news of it may bring."""


@attrs.frozen
class Script:
    """A script, by the digest under which the server keeps it.

    Attributes:
        text: The script.
        digest: The SHA-1 of its text.
    """

    text: str
    digest: str


# Lua quotes a text of plain ASCII as JSON does.
def _claims() -> str:
    rows = (
        f"[{json.dumps(state or '')}] = {json.dumps(decision)}"
        for state, decision in CLAIMS.items()
    )
    return f"{{{', '.join(rows)}}}"


def _settlements() -> str:
    rows = (
        f"[{json.dumps(f'{state} {news}')}] = {{{json.dumps(latest)}, {json.dumps(earlier)}}}"
        for (state, news), (latest, earlier) in SETTLEMENTS.items()
    )
    return f"{{{', '.join(rows)}}}"


_WORDS: Final = {
    "CLAIMS": _claims(),
    "SETTLEMENTS": _settlements(),
    "LEARNT": f"{{{', '.join(map(json.dumps, LEARNT))}}}",
    "CLOCK_TOLERANCE": repr(CLOCK_TOLERANCE),
    # A fingerprint is stored in hexadecimal.
    "KEY_ID_DIGITS": str(2 * KEY_ID_LENGTH),
    **{f"STATE_{state.name}": json.dumps(state) for state in State},
    **{f"NEWS_{news.name}": json.dumps(news) for news in News},
    **{f"DECISION_{decision.name}": json.dumps(decision) for decision in Decision},
}

# Every script has two keys, the second of which is that of the set of open ones, and one argument:
# a JSON text of what it is told, always with for how many milliseconds to `keep` what is settled,
# and with the time `now` where it is not the server's.
_BEGINNING = """
local key, open_ones = KEYS[1], KEYS[2]
local told = cjson.decode(ARGV[1])

local function clock()
  if told.now then return told.now end
  local time = redis.call('TIME')
  return string.format('%d.%06d', time[1], time[2])
end
"""

_COMMON = """
local function find()
  local flat, entry = redis.call('HGETALL', key), {}
  if #flat == 0 then return nil end
  for i = 1, #flat, 2 do entry[flat[i]] = flat[i + 1] end
  assert(($CLAIMS)[entry.state], 'it holds an entry that this release of esms_async does not know')
  return entry
end

local function evolve(entry, changes)
  local evolved = {}
  for name, value in pairs(entry) do evolved[name] = value end
  for name, value in pairs(changes) do evolved[name] = value end
  return evolved
end

local function later_generation(entry)
  return string.format('%d', entry.generation + 1)
end

-- Writes what differs. A claim begins with what takes memory, and is refused where there is none.
-- A settlement begins with what may free some: a server at its maxmemory lets such a script end.
local function store(entry, known)
  local is_open = entry.state == $STATE_OPEN
  if not is_open then redis.call('ZREM', open_ones, told.request_id) end
  local changes = {}
  for name, value in pairs(entry) do
    if known[name] ~= value then
      changes[#changes + 1] = name
      changes[#changes + 1] = value
    end
  end
  if #changes > 0 then redis.call('HSET', key, unpack(changes)) end
  for name in pairs(known) do
    if entry[name] == nil then redis.call('HDEL', key, name) end
  end
  if not is_open then
    redis.call('PEXPIRE', key, told.keep)
  elseif known.state ~= entry.state then
    redis.call('ZADD', open_ones, 0, told.request_id)
    redis.call('PERSIST', key)
  end
end
"""


def make_script(body: str, words: Mapping[str, str]) -> Script:
    """Return a script.

    Args:
        body: What it does after it has read what it is told.
        words: What stands in the places that the body marks with `$`.
    """
    text = Template(_BEGINNING + body).substitute(words)
    return Script(text, hashlib.sha1(text.encode(), usedforsecurity=False).hexdigest())


def _script(body: str) -> Script:
    return make_script(_COMMON + body, _WORDS)


CLAIM: Final = _script("""
local now, known = clock(), find()

local function same_fingerprint(one, other)
  if string.sub(one, 1, $KEY_ID_DIGITS) ~= string.sub(other, 1, $KEY_ID_DIGITS) then
    return true
  end
  return one == other
end

if known and not same_fingerprint(known.fingerprint, told.fresh.fingerprint) then
  return cjson.encode({$DECISION_CONFLICT, known})
end
local decision = ($CLAIMS)[known and known.state or '']
local entry = known
if decision == $DECISION_RESUME then
  local age = now - known.opened_at
  if age < -$CLOCK_TOLERANCE or age > told.window then
    return cjson.encode({$DECISION_EXPIRED, known})
  end
  entry = evolve(known, {generation = later_generation(known), updated_at = now})
  store(entry, known)
elseif decision == $DECISION_SEND then
  entry = evolve(told.fresh, {opened_at = now, updated_at = now})
  if known then entry.generation = later_generation(known) end
  store(entry, known or {})
  if told.resume then decision = $DECISION_RESUME end
end
return cjson.encode({decision, entry})
""")
"""Answers a claim with a decision and the entry.

It is told of the claim's `request_id`, `window`, whether to `resume`, and the fields of a `fresh`
entry.
"""

SETTLE: Final = _script("""
local learnt = told.learnt
local known = find()
if not known then return false end
local row = ($SETTLEMENTS)[known.state .. ' ' .. told.news]
local state = row[told.generation == known.generation and 1 or 2]
local entry = known
if state ~= known.state then
  entry = evolve(known, {state = state, updated_at = clock()})
  for _, name in ipairs($LEARNT) do entry[name] = learnt[name] end
elseif state == $STATE_ACCEPTED and not known.sms_id and learnt.sms_id then
  entry = evolve(known, {sms_id = learnt.sms_id})
elseif state == $STATE_OPEN and told.news == $NEWS_UNCERTAIN then
  entry = evolve(known, {updated_at = clock()})
end
if entry ~= known then store(entry, known) end
return cjson.encode(entry)
""")
"""Applies news to an entry, and answers with it, or with nothing where there is none.

It is told of the claim's `request_id` and `generation`, the `news`, and the fields that were
`learnt`.
"""

PRUNE: Final = _script("""
local known = find()
if not known then
  redis.call('ZREM', open_ones, told.request_id)
  return 0
end
if clock() - known.updated_at <= told.older_than then return 0 end
if known.state == $STATE_OPEN and not told.unsettled then return 0 end
redis.call('DEL', key)
redis.call('ZREM', open_ones, told.request_id)
return 1
""")
"""Forgets an entry that did not change for a time, and answers with how many that were.

It is told of the `request_id`, the time `older_than` in seconds, and whether to forget what is
`unsettled`.
"""
