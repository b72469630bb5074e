-- Stores a report unless there is one, and returns the time, or nothing if there was one. Its own
-- arguments: the report's name, its text, and the lease in seconds or nothing.
local name, text, lease = ARGV[4], ARGV[5], ARGV[6]
if redis.call('EXISTS', prefix .. name) == 1 then return false end
local now = clock()
local report = {stored_at = as_text(now), failures = '0', text = text}
if lease == '' then
  report.status, report.generation, report.due_at = $STATUS_NOT_SENT, '0', as_text(now)
else
  report.status, report.reason, report.generation = $STATUS_UNKNOWN, $REASON_ATTEMPT, '1'
  report.due_at = as_text(now + lease)
end
store(name, report)
return report.stored_at
