-- Takes messages out of a stream: new ones, or those whose lease has run out, with a death counted
-- where their worker is gone. KEYS: the stream, its deaths, the workers. ARGV: group, worker, how
-- many, what the keys of runs begin with, the lease in milliseconds (empty: new ones).
-- Answers with what the server delivered last (empty where more may wait); for each message its
-- deaths, 1 where a later run made it void, and the lengths of its parts, as binary numbers; and
-- the parts. Two long texts are faster to read than many short ones.
local stream, deaths, workers = unpack(KEYS)
local group, worker, count, runs, lease = unpack(ARGV)
local entries = {}
if lease == '' then
  local reply = redis.call(
    'XREADGROUP', 'GROUP', group, worker, 'COUNT', count, 'STREAMS', stream, '>'
  )
  entries = reply and reply[1][2] or entries
else
  local time = redis.call('TIME')
  local now = time[1] + time[2] / 1000000
  for _, pending in ipairs(redis.call('XPENDING', stream, group, 'IDLE', lease, '-', '+', count)) do
    local id, owner = pending[1], pending[2]
    local entry = redis.call('XCLAIM', stream, group, worker, lease, id)[1]
    if entry and entry[2] then
      local seen = redis.call('ZSCORE', workers, owner)
      if owner ~= 'free' and (not seen or now - seen > lease / 1000) then
        redis.call('HINCRBY', deaths, id, 1)
      end
      entries[#entries + 1] = entry
    end
  end
end

local latest, numbers, parts = {}, {}, {}
local has_deaths = redis.call('EXISTS', deaths) == 1
for i, entry in ipairs(entries) do
  local id, fields, told, died, void = entry[1], entry[2], {}, 0, 0
  for j = 1, #fields, 2 do told[fields[j]] = fields[j + 1] end
  if has_deaths then died = tonumber(redis.call('HGET', deaths, id) or 0) end
  if told.b then
    latest[told.b] = latest[told.b] or tonumber(redis.call('GET', runs .. told.b) or 0)
    if (tonumber(told.n) or 0) < latest[told.b] then void = 1 end
  end
  local r, m, b, n = told.r or '', told.m or '', told.b or '', told.n or ''
  local parent, state = told.traceparent or '', told.tracestate or ''
  numbers[i] = struct.pack(
    '<I4BI4I4I4I4I4I4I4', died, void, #id, #r, #m, #b, #n, #parent, #state
  )
  parts[i] = id .. r .. m .. b .. n .. parent .. state
end

local last = ''
if #entries < tonumber(count) then
  for _, each in ipairs(redis.call('XINFO', 'GROUPS', stream)) do
    local told = {}
    for i = 1, #each, 2 do told[each[i]] = each[i + 1] end
    if told.name == group then last = told['last-delivered-id'] end
  end
end
return {last, table.concat(numbers), table.concat(parts)}
