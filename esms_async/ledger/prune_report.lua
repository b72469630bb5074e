-- Deletes reports that did not change for a time. Its own arguments: the time in seconds, whether
-- to delete reports that were not handed on, and the names of the reports.
local now, older_than, unsettled = clock(), tonumber(ARGV[4]), ARGV[5] ~= ''
for i = 6, #ARGV do
  local name = ARGV[i]
  local report = find(name)
  if report and now - report.due_at > older_than
    and (unsettled or report.status == $STATUS_ACCEPTED) then
    redis.call('DEL', prefix .. name)
    redis.call('ZREM', due, name)
    redis.call('ZREM', failed, name)
  end
end
return 0
