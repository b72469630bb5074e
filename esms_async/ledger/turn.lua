-- Answers a batch of claims, and stores the acceptances that came with them: nearly all the work of
-- a ledger. It does the simple cases only, a claim whose RequestId has no entry and an acceptance of
-- an entry in doubt; `claim` and `settle` do the rest, one by one.
-- Keys: the set of unknown entries, and an entry for each claim and for each acceptance.
-- Arguments: the time, or nothing for the server's; `keep`; the number of claims; for each claim its
-- fingerprint, phone and content, with line feeds between them; for each acceptance 1 if it is
-- deduplicated, else 0, and its SMSID. None is empty. There are few arguments, because packing one
-- costs the client as much as anything else it does for a message.
-- Reply: the time; a digit for each claim and each acceptance, 1 if the script did it; and the error
-- if the server refused to store the claims.
local unknown_ones, now, keep, claims = KEYS[1], ARGV[1], ARGV[2], tonumber(ARGV[3])
local start = #unknown_ones - #$UNKNOWN_ONES + 1
if now == '' then
  local time = redis.call('TIME')
  now = string.format('%d.%06d', time[1], time[2])
end

-- A server at its maxmemory refuses the first write of a script only. So the claims come first.
local claimed, members, failure = {}, {}, ''
for i = 1, claims do
  local key, needs = KEYS[i + 1], ARGV[3 + i]
  if redis.call('EXISTS', key) == 1 then
    claimed[i] = '0'
  else
    local one = string.find(needs, '\n', 1, true)
    local two = string.find(needs, '\n', one + 1, true)
    local fields = {
      'status', $STATUS_UNKNOWN, 'reason', $REASON_ATTEMPT, 'generation', '1',
      'fingerprint', string.sub(needs, 1, one - 1), 'phone', string.sub(needs, one + 1, two - 1),
      'in_doubt_since', now, 'updated_at', now,
    }
    if two < #needs then
      fields[15], fields[16] = 'content', string.sub(needs, two + 1)
    end
    local stored = redis.pcall('HSET', key, unpack(fields))
    if type(stored) == 'table' then
      failure = stored.err
      break
    end
    claimed[i] = '1'
    members[#members + 1] = '0'
    members[#members + 1] = string.sub(key, start)
  end
end
if #members > 0 then redis.call('ZADD', unknown_ones, unpack(members)) end

local accepted, settled = {}, {}
for i = 1, #KEYS - 1 - claims do
  local key = KEYS[1 + claims + i]
  accepted[i] = '0'
  -- Leave a key that is not a hash to `settle`, which refuses it.
  if redis.pcall('HGET', key, 'status') == $STATUS_UNKNOWN then
    accepted[i] = '1'
    settled[#settled + 1] = string.sub(key, start)
  end
end
if #settled > 0 then redis.call('ZREM', unknown_ones, unpack(settled)) end
for i = 1, #accepted do
  if accepted[i] == '1' then
    local key, news = KEYS[1 + claims + i], ARGV[3 + claims + i]
    local fields = {'status', $STATUS_ACCEPTED, 'updated_at', now}
    local absent = {'reason', 'code', 'http_status', 'detail'}
    if #news == 1 then
      absent[#absent + 1] = 'sms_id'
    else
      fields[5], fields[6] = 'sms_id', string.sub(news, 2)
    end
    if string.sub(news, 1, 1) == '0' then
      absent[#absent + 1] = 'deduplicated'
    else
      fields[#fields + 1] = 'deduplicated'
      fields[#fields + 1] = '1'
    end
    redis.call('HSET', key, unpack(fields))
    redis.call('HDEL', key, unpack(absent))
    redis.call('PEXPIRE', key, keep)
  end
end
return table.concat({now, table.concat(claimed), table.concat(accepted), failure}, ' ')
