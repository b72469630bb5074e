-- Settles an entry of the ledger, and then ends the delivery of a message, in one step.
-- KEYS: the stream, its deaths, its stream of outcomes (empty: nobody follows), and those of the
-- ledger's `settle`, if there is something to settle. ARGV: group, worker, id, how it ends, the
-- report, how many seconds reports are kept, the lease in milliseconds, the status and reason
-- that were learned, and the argument of `settle`.
-- Answers with the entry, and ends nothing, where the ledger knows otherwise; else with nothing.
local function settle(KEYS, ARGV)
$SETTLE
end

local stream, deaths, outcomes = KEYS[1], KEYS[2], KEYS[3]
local group, worker, id, ending, report, kept, lease, learned = unpack(ARGV, 1, 8)

if KEYS[4] then
  local entry = settle({unpack(KEYS, 4)}, {unpack(ARGV, 9)})
  if ending == 'done' and entry then
    local held = cjson.decode(entry)
    if held.status .. ' ' .. (held.reason or '') ~= learned then return entry end
  end
end
if ending == 'done' then
  -- Another worker may have ended it meanwhile; one report is enough.
  if redis.call('XACK', stream, group, id) == 1 then
    redis.call('XDEL', stream, id)
    redis.call('HDEL', deaths, id)
    if outcomes ~= '' then
      redis.call('XADD', outcomes, '*', 'report', report)
      redis.call('EXPIRE', outcomes, kept)
    end
  end
elseif #redis.call('XPENDING', stream, group, id, id, 1, worker) == 1 then
  if ending == 'failed' then redis.call('HINCRBY', deaths, id, 1) end
  local idle = ending == 'at once' and lease or 0
  redis.call('XCLAIM', stream, group, 'free', 0, id, 'IDLE', idle, 'JUSTID')
end
return false
