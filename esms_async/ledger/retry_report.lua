-- Lets a failed report be handed on again, as `transitions.retry_report` does; returns 1 if the
-- report had failed. Its own argument is the report's name.
local name = ARGV[4]
local report = find(name)
if not report or held(report) ~= $KNOWLEDGE_FAILED then return 0 end
report.status, report.reason, report.failures = $STATUS_NOT_SENT, nil, '0'
report.due_at = as_text(clock())
redis.call('ZREM', failed, name)
store(name, report)
return 1
