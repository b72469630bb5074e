-- Counts and compares a guess, and uses the code up if it is right: used? expired? locked? →
-- count → compare → consume.
local c, f = prefix .. 'c:' .. q.bind, prefix .. 'f:' .. q.ph .. ':' .. q.purpose
local kid, gid, check, exp, used = unpack(
  redis.call('HMGET', c, 'kid', 'gid', 'check', 'exp', 'used'))

local function answer(reason, left, wait)
  return cjson.encode({reason = reason, left = left or 0, wait = wait or -1, now = now})
end

if not kid or gid ~= q.gid or not q.checks[kid] then
  return answer('expired')
end
if used == '1' then
  return answer('used')
end
if now >= tonumber(exp) then
  return answer('expired')
end
local wait = locked(f)
if wait ~= 0 then
  return answer('locked', 0, wait)
end
for _, counter in ipairs(q.wrong) do
  wait = math.max(wait, wait_below(counter[2], counter[4], counter[3]))
end
if wait > 0 then
  return answer('locked', 0, wait)
end
local n, level, back, total = unpack(
  redis.call('HMGET', f, 'n:' .. device, 'level:' .. device, 'back:' .. device, 'total'))
n, level, back, total = tonumber(n or '0'), tonumber(level or '0'), back or '', tonumber(total or '0')
if q.checks[kid] == '' then
  return answer('wrong', math.max(math.min(q.attempts - n, MOST_FAILURES - total), 0))
end

if q.checks[kid] == check then
  redis.call('HSET', c, 'used', '1')
  redis.call('HDEL', f, 'total', 'n:' .. device, 'until:' .. device, 'level:' .. device,
    'back:' .. device)
  local its_device, number, its_back = unpack(redis.call('HMGET', c, 'device', 'sends', 'back'))
  for _, scope in ipairs({device, its_device}) do
    redis.call('DEL', prefix .. 'cd:' .. q.ph .. ':' .. scope)
  end
  local function give_back(key, at)
    key = prefix .. 'g:' .. key
    if tonumber(redis.call('HGET', key, at) or '0') > 0 then
      redis.call('HINCRBY', key, at, -1)
    end
  end
  for key, at in string.gmatch(its_back, '(%S+) (%S+) ') do
    give_back(key, at)
  end
  -- The address that entered the right code gets its wrong ones back; others do not.
  for key, at in string.gmatch(back, '(%S+) (%S+) ') do
    for _, counter in ipairs(q.wrong) do
      if counter[2] == key then
        give_back(key, at)
      end
    end
  end
  if q.verified ~= '' then
    add(q.verified, HOUR)
  end
  return cjson.encode({
    reason = 'verified', left = q.attempts, wait = -1, now = now, device = device,
    number = tonumber(number),
  })
end

n, total = n + 1, total + 1
for _, counter in ipairs(q.wrong) do
  back = back .. counter[2] .. ' ' .. add(counter[2], counter[4]) .. ' '
end
local left, lasts = math.min(q.attempts - n, MOST_FAILURES - total), -1
if n >= q.attempts then
  left, lasts = 0, q.lock[math.min(level + 1, #q.lock)]
  redis.call('HSET', f, 'until:' .. device, text(now + lasts))
  n, level = 0, level + 1
end
redis.call('HSET', f, 'n:' .. device, n, 'level:' .. device, level, 'back:' .. device, back,
  'total', total)
if total >= MOST_FAILURES then
  redis.call('PERSIST', f)
  return answer('wrong', 0, -1)
end
redis.call('PEXPIRE', f, text(30 * 86400000))
return answer('wrong', left, lasts)
