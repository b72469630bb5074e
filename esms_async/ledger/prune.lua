-- Deletes entries that did not change for a time, and returns the number deleted.
-- Keys: the set of unknown entries, and the entries. Arguments: the time, or nothing for the
-- server's; the age in seconds; and 1 to delete unsettled ones too, or nothing.
local unknown_ones, now, older_than, unsettled = KEYS[1], ARGV[1], tonumber(ARGV[2]), ARGV[3] ~= ''
local start = #unknown_ones - #$UNKNOWN_ONES + 1
if now == '' then
  local time = redis.call('TIME')
  now = string.format('%d.%06d', time[1], time[2])
end

-- One command for each set is one write of the append-only file.
local deleted, gone, members = 0, {}, {}
for i = 2, #KEYS do
  local key = KEYS[i]
  local known = find(key)
  if not known then
    members[#members + 1] = string.sub(key, start)
  elseif now - known.updated_at > older_than
    and (unsettled or known.status ~= $STATUS_UNKNOWN) then
    gone[#gone + 1] = key
    if known.status == $STATUS_UNKNOWN then members[#members + 1] = string.sub(key, start) end
  end
end
if #gone > 0 then deleted = redis.call('DEL', unpack(gone)) end
if #members > 0 then redis.call('ZREM', unknown_ones, unpack(members)) end
return deleted
