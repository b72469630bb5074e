-- Renews the leases of a worker, and answers with what the workers share.
-- KEYS: the workers, what stops each of them, the breakers, the parked streams, the facts, then the
-- streams. ARGV: group, worker, what stops it, then for each stream the number of ids, and the ids.
local workers, stopped, breakers, parked, facts = unpack(KEYS, 1, 5)
local group, worker, stopped_by = ARGV[1], ARGV[2], ARGV[3]
local time = redis.call('TIME')
local now = time[1] + time[2] / 1000000
redis.call('ZADD', workers, now, worker)
if stopped_by == '' then
  redis.call('HDEL', stopped, worker)
else
  redis.call('HSET', stopped, worker, stopped_by)
end
local position = 4
for i = 6, #KEYS do
  local count = tonumber(ARGV[position])
  for j = position + 1, position + count do
    -- What another worker has taken over is not taken back.
    if #redis.call('XPENDING', KEYS[i], group, ARGV[j], ARGV[j], 1, worker) == 1 then
      redis.call('XCLAIM', KEYS[i], group, worker, 0, ARGV[j], 'JUSTID')
    end
  end
  position = position + count + 1
end
-- The names of workers that ended long ago go, once nothing is left of what they held.
for _, old in ipairs(redis.call('ZRANGEBYSCORE', workers, '-inf', now - 600, 'LIMIT', 0, 8)) do
  local holds = false
  for i = 6, #KEYS do
    if #redis.call('XPENDING', KEYS[i], group, '-', '+', 1, old) > 0 then
      holds = true
    else
      redis.call('XGROUP', 'DELCONSUMER', KEYS[i], group, old)
    end
  end
  if not holds then
    redis.call('ZREM', workers, old)
    redis.call('HDEL', stopped, old)
  end
end
return {
  redis.call('HGETALL', breakers), redis.call('SMEMBERS', parked), redis.call('HGETALL', facts),
}
