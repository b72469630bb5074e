-- Shared by claim.lua and verify.lua: the time, caps in slices, locks. The rules are those of
-- rules.py; times are whole milliseconds. KEYS[1] is the prefix of all keys, in one hash slot.
local prefix, q = KEYS[1], cjson.decode(ARGV[1])

local function text(number)
  return string.format('%.0f', number)
end

-- The server's time, unless a test gives its own. It does not go back (rule 11).
local now = q.now
if not now then
  local t = redis.call('TIME')
  now = t[1] * 1000 + math.floor(t[2] / 1000)
end
local shown = now
if q.floor - now > 2000 then
  now = q.floor
end
local known = tonumber(redis.call('GET', prefix .. 'time') or '0')
if known - now > 600000 then
  return cjson.encode({ahead = known, now = shown})
end
if known > now then
  now = known
end
redis.call('SET', prefix .. 'time', text(now))

local HOUR, LEASE, SHORTEST_REST, MOST_FAILURES = 3600000, 15000, 60000, 100
local device = ''
if q.device_until > now then
  device = q.device
end

local function hash(key)
  local flat, fields = redis.call('HGETALL', key), {}
  if #flat == 0 then
    return nil
  end
  for i = 1, #flat, 2 do
    fields[flat[i]] = flat[i + 1]
  end
  return fields
end

local function width(window)
  return math.ceil(window / 10)
end

-- Counts one under a key, and returns the slice that it was counted in.
local function add(key, window)
  key = prefix .. 'g:' .. key
  local at = math.floor(now / width(window))
  if redis.call('HINCRBY', key, text(at), 1) == 1 then
    for _, each in ipairs(redis.call('HKEYS', key)) do
      if tonumber(each) < at - 10 then
        redis.call('HDEL', key, each)
      end
    end
  end
  redis.call('PEXPIRE', key, text(window + width(window)))
  return text(at)
end

-- Returns the count of a key in the present slice and the ten before it, and these slices.
local function sum(key, window)
  local at, count, slices = math.floor(now / width(window)), 0, {}
  local flat = redis.call('HGETALL', prefix .. 'g:' .. key)
  for i = 1, #flat, 2 do
    local each = {tonumber(flat[i]), tonumber(flat[i + 1])}
    if each[1] >= at - 10 then
      count = count + each[2]
      slices[#slices + 1] = each
    end
  end
  return count, slices
end

-- Returns the time until a count is below a limit; 0 if it is.
local function wait_below(key, window, limit)
  local count, slices = sum(key, window)
  local till = now
  table.sort(slices, function(one, other) return one[1] < other[1] end)
  for _, each in ipairs(slices) do
    if count < limit then
      break
    end
    count, till = count - each[2], (each[1] + 11) * width(window)
  end
  return till - now
end

-- Returns the time until a device is unlocked; 0 without a lock, -1 if only unlock ends it.
local function locked(key)
  local total, till = unpack(redis.call('HMGET', key, 'total', 'until:' .. device))
  if tonumber(total or '0') >= MOST_FAILURES then
    return -1
  end
  return math.max(tonumber(till or '0') - now, 0)
end

