-- Every script about delivery reports begins with these lines. A report is a hash with the field
-- names of `StoredReport` and texts as values; None has no field. Its name is its key in the
-- ledger. One sorted set holds the waiting and claimed reports by the time at which they are due,
-- another one the failed reports, and a hash the latest contact.
--
-- Arguments: the prefix of the ledger's keys, the time or nothing, the milliseconds for which a
-- report is kept after it was handed on, and then those of the script.
local CLAIMS = $CLAIMS
local due, failed, contact = KEYS[1], KEYS[2], KEYS[3]
local prefix, keep = ARGV[1], ARGV[3]

local function clock()
  if ARGV[2] ~= '' then return tonumber(ARGV[2]) end
  local time = redis.call('TIME')
  return tonumber(string.format('%d.%06d', time[1], time[2]))
end

local function as_text(number)
  return string.format('%.17g', number)
end

local function held(report)
  return report.status .. ' ' .. (report.reason or '')
end

local function find(name)
  local flat, report = redis.call('HGETALL', prefix .. name), {}
  if #flat == 0 then return nil end
  for i = 1, #flat, 2 do report[flat[i]] = flat[i + 1] end
  return report
end

-- Writes a report, and puts it into the set of its status.
local function store(name, report)
  local fields = {}
  for field, value in pairs(report) do
    fields[#fields + 1] = field
    fields[#fields + 1] = value
  end
  redis.call('HSET', prefix .. name, unpack(fields))
  if not report.reason then redis.call('HDEL', prefix .. name, 'reason') end
  if report.status == $STATUS_NOT_SENT or report.status == $STATUS_UNKNOWN then
    redis.call('ZADD', due, report.due_at, name)
  else
    redis.call('ZREM', due, name)
  end
  if report.status == $STATUS_REJECTED then redis.call('ZADD', failed, report.due_at, name) end
end
