"""The Lua scripts of the Redis ledger that hand reports on once, by `esms_async.handover`.

A handover is a hash whose fields are named as those of `Handover`, all of them texts; the
RequestId and the state stand in its key. It expires when it did not change for as long as a
settled entry is kept.
"""

import json
from typing import Final

from esms_async.handover import BEGINNINGS, ENDINGS, Answer, Stage
from esms_async.ledger.redis_scripts import make_script


def _beginnings() -> str:
    rows = (
        f"[{json.dumps(stage or '')}] = {{{json.dumps(running)}, {json.dumps(after)}}}"
        for stage, (running, after) in BEGINNINGS.items()
    )
    return f"{{{', '.join(rows)}}}"


def _endings() -> str:
    rows = (
        f"[{json.dumps(f'{stage} {success}'.lower())}] = "
        f"{{{json.dumps(latest)}, {json.dumps(earlier)}}}"
        for (stage, success), (latest, earlier) in ENDINGS.items()
    )
    return f"{{{', '.join(rows)}}}"


_WORDS: Final = {
    "BEGINNINGS": _beginnings(),
    "ENDINGS": _endings(),
    "STAGE_UNDER_WAY": json.dumps(Stage.UNDER_WAY),
    "ANSWER_GO": json.dumps(Answer.GO),
}

_FIND = """
local function find()
  local stage, turn, till = unpack(redis.call('HMGET', key, 'stage', 'turn', 'until'))
  if not stage then return nil end
  assert(($BEGINNINGS)[stage], 'it holds a report that this release of esms_async does not know')
  return {stage = stage, turn = turn, ['until'] = till}
end

local function store(stage, turn, till)
  redis.call('HSET', key, 'stage', stage, 'turn', turn, 'until', till)
  redis.call('PEXPIRE', key, told.keep)
end
"""

BEGIN: Final = make_script(
    _FIND
    + """
local now, known = clock(), find()
local row = ($BEGINNINGS)[known and known.stage or '']
local runs = known and tonumber(now) <= tonumber(known['until'])
local answer = row[runs and 1 or 2]
if answer == $ANSWER_GO then
  known = {
    stage = $STAGE_UNDER_WAY,
    turn = string.format('%d', known and known.turn + 1 or 1),
    ['until'] = string.format('%.17g', now + told.lease),
  }
  store(known.stage, known.turn, known['until'])
end
return cjson.encode({answer, known})
""",
    _WORDS,
)
"""Answers one who would hand a report on with what to do and the handover.

It is told for how many seconds a `lease` lasts.
"""

END: Final = make_script(
    _FIND
    + """
local known = find()
if not known then return 0 end
local row = ($ENDINGS)[known.stage .. ' ' .. tostring(told.success)]
local stage = row[told.turn == known.turn and 1 or 2]
if stage ~= known.stage then store(stage, known.turn, clock()) end
return 1
""",
    _WORDS,
)
"""Applies the end of a turn.

It is told of the number of the `turn`, and of its `success`.
"""

FORGET: Final = make_script(
    _FIND
    + """
local known = find()
if known and clock() - known['until'] > told.older_than then redis.call('DEL', key) end
return 0
""",
    _WORDS,
)
"""Forgets a handover that did not change for a time.

It is told of the time `older_than` in seconds.
"""
