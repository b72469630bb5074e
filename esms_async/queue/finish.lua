-- Ends deliveries: settles the entry of the ledger, reports, and acknowledges, in one step.
-- KEYS: the set of the ledger's unknown entries; then for each delivery its stream, its deaths,
-- its stream of outcomes (empty: nobody follows), and its entry in the ledger.
-- ARGV: group, worker, how many seconds reports are kept, the lease in milliseconds; then for each
-- delivery its id, how it ends, its report, what was learned as status and reason, and the
-- argument of the ledger's `settle` (empty: there is nothing to settle).
-- Answers for each delivery with nothing; or with the entry, where the ledger knows otherwise:
-- then the delivery has not ended.
local function settle(KEYS, ARGV)
$SETTLE
end

local group, worker, kept, lease = unpack(ARGV, 1, 4)

local function finish(stream, deaths, outcomes, key, id, ending, report, learned, settling)
  if settling ~= '' then
    local entry = settle({key, KEYS[1]}, {settling})
    if entry and ending == 'done' then
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
end

local answers = {}
for i = 1, (#KEYS - 1) / 4 do
  local key, argument = 4 * i - 2, 5 * i
  local stream, deaths, outcomes, entry = unpack(KEYS, key, key + 3)
  answers[i] = finish(stream, deaths, outcomes, entry, unpack(ARGV, argument, argument + 4))
end
return answers
