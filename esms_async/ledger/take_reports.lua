-- Claims reports that are due, as `transitions.claim_report` does, and returns a list of names and
-- fields. Its own arguments: the most reports, and the lease in seconds.
local limit, lease = tonumber(ARGV[4]), tonumber(ARGV[5])
local now = clock()

-- As `transitions.next_contact` does.
local at, grace_until = unpack(redis.call('HMGET', contact, 'at', 'grace_until'))
grace_until = tonumber(grace_until or '0')
if at and now - at > lease / $CONTACTS_A_LEASE then grace_until = now + lease end
redis.call('HSET', contact, 'at', as_text(now), 'grace_until', as_text(grace_until))

local taken = {}
while #taken < limit do
  local names =
    redis.call('ZRANGEBYSCORE', due, '-inf', as_text(now), 'LIMIT', 0, limit - #taken)
  if #names == 0 then break end
  for _, name in ipairs(names) do
    local report = find(name)
    local decision = report and CLAIMS[held(report)]
    if not report then
      redis.call('ZREM', due, name)
    elseif not decision then
      -- A later release wrote it, so leave it to that one.
      redis.call('ZADD', due, as_text(now + lease), name)
    elseif decision == $DECISION_RESUME and now < grace_until then
      report.due_at = as_text(grace_until)
      store(name, report)
    else
      if decision == $DECISION_RESUME then
        report.failures = string.format('%d', report.failures + 1)
        report.detail = 'its process died'
      end
      report.status, report.reason = $STATUS_UNKNOWN, $REASON_ATTEMPT
      report.generation = string.format('%d', report.generation + 1)
      report.due_at = as_text(now + lease)
      store(name, report)
      taken[#taken + 1] = {name, report}
    end
  end
end
return cjson.encode(taken)
