-- Every script begins with these lines. It has two keys, the second of which is the set of the
-- unknown entries, and one argument: a JSON text with what it needs to know. That always holds
-- `keep`, the milliseconds for which a settled entry is kept, and `now` if the time is not to be
-- the server's.
local key, unknown_ones = KEYS[1], KEYS[2]
local told = cjson.decode(ARGV[1])

local function clock()
  if told.now then return told.now end
  local time = redis.call('TIME')
  return string.format('%d.%06d', time[1], time[2])
end
