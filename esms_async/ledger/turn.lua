-- Answers a batch of claims, and stores the acceptances that came with them: nearly all the work of
-- a ledger. It does the simple cases only, a claim whose RequestId has no entry and an acceptance of
-- an entry as this script wrote it; `claim` and `settle` do the rest, one by one. So a claim takes
-- one command, an acceptance two, and no text is decoded.
-- Keys: the set of unknown entries, and an entry for each claim and for each acceptance.
-- Arguments: the time, or nothing for the server's; `keep`; the number of claims; for each claim the
-- members of its entry that the client knows, as JSON; for each acceptance the members that it adds,
-- with a comma after each. There are few arguments, because packing one costs the client as much as
-- anything else it does for a message.
-- Reply: the time; a digit for each claim and each acceptance, 1 if the script did it; and the error
-- if the server refused to store the claims.
local unknown_ones, now, keep, claims = KEYS[1], ARGV[1], ARGV[2], tonumber(ARGV[3])
local start = #unknown_ones - #$UNKNOWN_ONES + 1
if now == '' then
  local time = redis.call('TIME')
  now = string.format('%d.%06d', time[1], time[2])
end
local updated_at = '"updated_at":"' .. now .. '",'
local in_doubt = '{"status":"' .. $STATUS_UNKNOWN .. '","reason":"' .. $REASON_ATTEMPT .. '",'
local fresh = in_doubt .. updated_at .. '"in_doubt_since":"' .. now .. '","generation":"1",'

-- A server at its maxmemory refuses the first write of a script only. So the claims come first.
local claimed, members, failure = {}, {}, ''
for i = 1, claims do
  local key = KEYS[i + 1]
  local stored = redis.pcall('SET', key, fresh .. ARGV[3 + i] .. '}', 'NX')
  if not stored then
    claimed[i] = '0'
  elseif stored.err then
    failure = stored.err
    break
  else
    claimed[i] = '1'
    members[#members + 1] = '0'
    members[#members + 1] = string.sub(key, start)
  end
end
if #members > 0 then redis.call('ZADD', unknown_ones, unpack(members)) end

local accepted, settled, rests = {}, {}, {}
local as_written = '^' .. in_doubt .. '"updated_at":"[^"]*",(.*)'
for i = 1, #KEYS - 1 - claims do
  local key = KEYS[1 + claims + i]
  -- Leave a key that is not a string to `settle`, which refuses it.
  local held = redis.pcall('GET', key)
  rests[i] = type(held) == 'string' and string.match(held, as_written) or false
  accepted[i] = rests[i] and '1' or '0'
  if rests[i] then settled[#settled + 1] = string.sub(key, start) end
end
if #settled > 0 then redis.call('ZREM', unknown_ones, unpack(settled)) end
local outset = '{"status":"' .. $STATUS_ACCEPTED .. '",' .. updated_at
for i, rest in ipairs(rests) do
  if rest then
    local entry = outset .. ARGV[3 + claims + i] .. rest
    redis.call('SET', KEYS[1 + claims + i], entry, 'PX', keep)
  end
end
return table.concat({now, table.concat(claimed), table.concat(accepted), failure}, ' ')
