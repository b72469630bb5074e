-- Deletes an entry that did not change for a time, and returns the number deleted. Arguments: the
-- `request_id`, the time `older_than` in seconds, and whether to delete `unsettled` ones too.
local known = find()
if not known then
  redis.call('ZREM', unknown_ones, told.request_id)
  return 0
end
if clock() - known.updated_at <= told.older_than then return 0 end
if known.status == $STATUS_UNKNOWN and not told.unsettled then return 0 end
redis.call('DEL', key)
redis.call('ZREM', unknown_ones, told.request_id)
return 1
