-- Moves a message that a worker holds to another stream, as it is: the dead ones, or those of a
-- route that waits. KEYS: the stream, its deaths, the other stream, the set of parked streams, the
-- stream of outcomes (empty: nobody follows). ARGV: group, id, the lane, why (empty: it is parked),
-- the report, how many seconds reports are kept.
local stream, deaths, other, parked, outcomes = unpack(KEYS)
local group, id, lane, why, report, kept = unpack(ARGV)
local entry = redis.call('XRANGE', stream, id, id)[1]
if redis.call('XACK', stream, group, id) == 0 or not entry then return 0 end
redis.call('XDEL', stream, id)
redis.call('HDEL', deaths, id)
if why == '' then
  redis.call('SADD', parked, other)
  redis.call('XADD', other, '*', 'lane', lane, unpack(entry[2]))
else
  redis.call('XADD', other, '*', 'lane', lane, 'why', why, unpack(entry[2]))
  if outcomes ~= '' then
    redis.call('XADD', outcomes, '*', 'report', report)
    redis.call('EXPIRE', outcomes, kept)
  end
end
return 1
