-- Applies a settlement to a report, as `transitions.settle_report` does. Its own arguments: the
-- report's name, the generation of the claim, the status and reason learned, the number of
-- failures, the seconds until the next try, and the detail or nothing.
local name, generation, learned = ARGV[4], ARGV[5], ARGV[6]
local report = find(name)
if not report then return 0 end
local new = after(report, generation, learned)
assert(new, 'it holds a report that this release of esms_async does not know')
if new == held(report) then return 0 end
know(report, new)
report.failures, report.due_at = ARGV[7], as_text(clock() + ARGV[8])
report.detail = ARGV[9] ~= '' and ARGV[9] or nil
if not report.detail then redis.call('HDEL', prefix .. name, 'detail') end
if report.status == $STATUS_ACCEPTED then
  report.text = nil
  redis.call('HDEL', prefix .. name, 'text')
  redis.call('ZREM', failed, name)
  redis.call('PEXPIRE', prefix .. name, keep)
end
store(name, report)
return 1
