-- Deletes entries that did not change for a time, and returns the number deleted.
-- Keys: the set of unknown entries, and the entries. Arguments: the time, or nothing for the
-- server's; the age in seconds; and 1 to delete unsettled ones too, or nothing.
local unknown_ones, now, older_than, unsettled = KEYS[1], ARGV[1], tonumber(ARGV[2]), ARGV[3] ~= ''
local start = #unknown_ones - #$UNKNOWN_ONES + 1
if now == '' then
  local time = redis.call('TIME')
  now = string.format('%d.%06d', time[1], time[2])
end

local deleted = 0
for i = 2, #KEYS do
  local key = KEYS[i]
  local known = find(key)
  if not known then
    redis.call('ZREM', unknown_ones, string.sub(key, start))
  elseif now - known.updated_at > older_than
    and (unsettled or known.status ~= $STATUS_UNKNOWN) then
    redis.call('DEL', key)
    redis.call('ZREM', unknown_ones, string.sub(key, start))
    deleted = deleted + 1
  end
end
return deleted
