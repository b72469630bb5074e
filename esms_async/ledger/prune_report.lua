-- Deletes a handover that did not change for a time. It needs the time `older_than` in seconds.
local known = find()
if known and clock() - known['until'] > told.older_than then redis.call('DEL', key) end
return 0
