-- Takes messages out of a stream: new ones, or those whose lease has run out, with a death counted
-- where their worker is gone. KEYS: the stream, its deaths, the workers. ARGV: group, worker, how
-- many, what the keys of runs begin with, the lease in milliseconds (empty: new ones).
-- Answers with what the server delivered last (empty where more may wait); a line for each message
-- with its id, its deaths, 1 where a later run made it void, and the lengths of its fields; and
-- the fields. Two long texts are faster to read than many short ones.
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

local latest, lines, parts = {}, {}, {}
local has_deaths = redis.call('EXISTS', deaths) == 1
for i, entry in ipairs(entries) do
  local id, fields = entry[1], entry[2]
  local line, batch, run = {id, '0', '0'}, nil, nil
  if has_deaths then line[2] = redis.call('HGET', deaths, id) or '0' end
  for j, field in ipairs(fields) do
    line[j + 3], parts[#parts + 1] = #field, field
    if field == 'b' and j % 2 == 1 then batch = fields[j + 1] end
    if field == 'n' and j % 2 == 1 then run = tonumber(fields[j + 1]) end
  end
  if batch then
    latest[batch] = latest[batch] or tonumber(redis.call('GET', runs .. batch) or 0)
    if (run or 0) < latest[batch] then line[3] = '1' end
  end
  lines[i] = table.concat(line, ' ')
end

local last = ''
if #entries < tonumber(count) then
  for _, each in ipairs(redis.call('XINFO', 'GROUPS', stream)) do
    local told = {}
    for i = 1, #each, 2 do told[each[i]] = each[i + 1] end
    if told.name == group then last = told['last-delivered-id'] end
  end
end
return {last, table.concat(lines, '\n'), table.concat(parts)}
