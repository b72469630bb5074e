-- Decides about a start or a resend and counts it, or records the result of a send (settle).
local c = prefix .. 'c:' .. q.bind
local flow = hash(c)

-- Counts the latest send of the flow as one at the present time, or not at all.
local function move_send(counts)
  for _, name in ipairs({'s:', 'cd:'}) do
    local key = prefix .. name .. flow.ph .. ':' .. flow.device
    local ttl = redis.call('PTTL', key)
    if redis.call('LREM', key, -1, flow.at) > 0 and counts then
      redis.call('RPUSH', key, text(now))
      redis.call('PEXPIRE', key, text(ttl + now - tonumber(flow.at)))
    end
  end
end

if q.call == 'settle' then
  if flow and flow.gid == q.gid and flow.sends == text(q.number) then
    local is_own = flow.claim == q.token and flow.state == 'pending'
    if q.state == 'accepted' or is_own then
      redis.call('HSET', c, 'state', q.state)
      if q.state == 'none' then
        move_send(false)
      end
    end
  end
  return cjson.encode({now = now})
end

local resends = q.call == 'resend'
local knows = false
for _, kid in ipairs(q.kids) do
  knows = knows or (flow and flow.kid == kid)
end
if flow and (not knows or flow.used == '1' or now >= tonumber(flow.exp)
    -- A decoy was never sent, so a real start does not join it.
    or (not resends and flow.decoy == '1' and not q.decoy)) then
  flow = nil
end
if resends and (not flow or flow.gid ~= q.gid or flow.ph ~= q.ph) then
  return cjson.encode({reason = 'expired', now = now})
end
local purpose = resends and flow.purpose or q.purpose
local wait = locked(prefix .. 'f:' .. q.ph .. ':' .. purpose)
if wait ~= 0 then
  return cjson.encode({reason = 'locked', wait = wait, purpose = purpose, now = now})
end

local s, cd = prefix .. 's:' .. q.ph .. ':' .. device, prefix .. 'cd:' .. q.ph .. ':' .. device

local function cooldown()
  local count, last = 0, 0
  for _, at in ipairs(redis.call('LRANGE', cd, 0, -1)) do
    at = tonumber(at)
    if at > now - HOUR then
      count, last = count + 1, at
    end
  end
  if count == 0 then
    return 0
  end
  return math.max(last + q.waits[math.min(count, #q.waits)] - now, 0)
end

local function answer(action, resend_after)
  return cjson.encode({
    action = action, now = now, kid = flow.kid, salt = flow.salt, purpose = flow.purpose,
    exp = tonumber(flow.exp), number = tonumber(flow.sends), state = flow.state,
    decoy = flow.decoy == '1', resend_after = resend_after,
  })
end

local function store()
  local flat = {}
  for name, value in pairs(flow) do
    flat[#flat + 1] = name
    flat[#flat + 1] = value
  end
  redis.call('HSET', c, unpack(flat))
  redis.call('PEXPIRE', c, text(tonumber(flow.exp) - now + 600000))
end

local cool = cooldown()
if flow then
  -- The table ACTIONS of rules.py: in the lease, after it.
  local in_lease = now < tonumber(flow.lease)
  local action = 'send'
  if flow.state == 'pending' then
    action = in_lease and 'join' or 'resume'
  elseif not resends then
    action = flow.state == 'none' and 'send' or 'join'
  elseif flow.state == 'unknown' then
    action = 'resume'
  end
  local ends_soon = tonumber(flow.exp) - now < SHORTEST_REST
  if ends_soon and resends then
    return cjson.encode({reason = 'expired', now = now})
  end
  if ends_soon and cool == 0 and not (flow.state == 'pending' and in_lease) then
    flow = nil
  elseif action == 'join' then
    return answer(action, cool)
  elseif action == 'resume' then
    if flow.state == 'unknown' and cool > 0 then
      return cjson.encode({reason = 'cooldown', wait = cool, purpose = purpose, now = now})
    end
    move_send(true)
    flow.at, flow.state, flow.lease, flow.claim = text(now), 'pending', text(now + LEASE), q.token
    store()
    return answer(action, cooldown())
  end
end

local function refusal()
  if cool > 0 then
    return 'cooldown', cool
  end
  local times, longest = redis.call('LRANGE', s, 0, -1), 0
  for _, cap in ipairs(q.phone_caps) do
    if #times >= cap[1] then
      longest = math.max(longest, tonumber(times[#times - cap[1] + 1]) + cap[2] - now)
    end
  end
  if longest > 0 then
    return 'phone', longest
  end
  for _, counter in ipairs(q.counters) do
    local full = wait_below(counter[2], counter[4], counter[3])
    if full > 0 then
      return counter[1], full
    end
  end
  if device ~= '' then
    return nil -- a known device passes the breaker and the total
  end
  if q.breaker then
    local limit = math.max(q.breaker[3], sum(q.breaker[2], HOUR) * q.breaker[4])
    local full = wait_below(q.breaker[1], HOUR, limit)
    if full > 0 then
      return 'fraud', full
    end
  end
  for _, counter in ipairs(q.total) do
    local full = wait_below(counter[2], counter[4], counter[3])
    if full > 0 then
      return 'total', full
    end
  end
end

local reason, until_then = refusal()
if reason then
  return cjson.encode({reason = reason, wait = until_then, purpose = purpose, now = now})
end
if not flow then
  redis.call('DEL', c)
  flow = {
    kid = q.kid, salt = q.salt, gid = q.gid, check = q.check, purpose = q.purpose, ph = q.ph,
    exp = text(now + q.ttl), sends = '0', used = '0', decoy = q.decoy and '1' or '0', back = '',
  }
end
flow.sends, flow.state, flow.lease = text(tonumber(flow.sends) + 1), 'pending', text(now + LEASE)
flow.claim, flow.at, flow.device = q.token, text(now), device

-- Count all, and note in the flow the counts that a success gives back.
local most, longest = 0, 0
for _, cap in ipairs(q.phone_caps) do
  most, longest = math.max(most, cap[1]), math.max(longest, cap[2])
end
if most > 0 then
  redis.call('RPUSH', s, text(now))
  redis.call('LTRIM', s, -most, -1)
  redis.call('PEXPIRE', s, text(longest))
end
while tonumber(redis.call('LINDEX', cd, 0) or now) <= now - HOUR do
  redis.call('LPOP', cd)
end
redis.call('RPUSH', cd, text(now))
redis.call('PEXPIRE', cd, text(HOUR))
for _, counter in ipairs(q.counters) do
  local at = add(counter[2], counter[4])
  if counter[1] == 'ip' then
    flow.back = flow.back .. counter[2] .. ' ' .. at .. ' '
  end
end
for _, counter in ipairs(q.total) do
  add(counter[2], counter[4])
end
if q.breaker then
  flow.back = flow.back .. q.breaker[1] .. ' ' .. add(q.breaker[1], HOUR) .. ' '
end
store()
return answer('send', cooldown())
