-- Deletes a report that did not change for a time. Its own arguments: the report's name, the time
-- in seconds, and whether to delete reports that were not handed on.
local name = ARGV[4]
local report = find(name)
if not report or clock() - report.due_at <= tonumber(ARGV[5]) then return 0 end
if report.status ~= $STATUS_ACCEPTED and ARGV[6] == '' then return 0 end
redis.call('DEL', prefix .. name)
redis.call('ZREM', due, name)
redis.call('ZREM', failed, name)
return 0
