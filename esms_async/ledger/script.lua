-- Every script begins with these lines. Its second key is the set of unknown entries. Its only
-- argument is a JSON object, always with `keep`, the milliseconds for which a settled entry is
-- kept, and with `now` if the time is not the server's.
local key, unknown_ones = KEYS[1], KEYS[2]
local told = cjson.decode(ARGV[1])

local function clock()
  if told.now then return told.now end
  local time = redis.call('TIME')
  return string.format('%d.%06d', time[1], time[2])
end
