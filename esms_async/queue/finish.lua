-- Ends deliveries: settles the entry of the ledger, reports, and acknowledges, in one step.
-- KEYS: the set of the ledger's unknown entries; the streams of messages and of outcomes; then for
-- each delivery its entry in the ledger.
-- ARGV: group, worker, how many seconds reports are kept, the lease in milliseconds, `keep` of the
-- ledger, the number of streams; then for the deliveries of each kind a JSON list of how they end,
-- the numbers of their stream and of their stream of outcomes (0: nobody follows), and how many
-- they are; their ids; their reports, a line each; and what there is to settle, a line each
-- (nothing; the argument of the ledger's `settle`; or for an acceptance a plus and that of `turn`).
-- There are few arguments, because packing one costs the worker as much as any step of a message.
-- Answers with the numbers of the deliveries that have not ended: those of which the ledger knows
-- otherwise, and below zero those whose entry can't be read.
local function turn(KEYS, ARGV)
$TURN
end

local function settle(KEYS, ARGV)
$SETTLE
end

local group, worker, kept, lease, keep, streams = unpack(ARGV, 1, 6)
local unknown_ones = KEYS[1]
local start = #unknown_ones - #'#unknown' + 1
local PLUS = 43

local function split(text, pattern)
  local parts = {}
  for part in string.gmatch(text, pattern) do parts[#parts + 1] = part end
  return parts
end

-- Nearly all endings are acceptances of an entry in doubt, which `turn` stores. Answers with a
-- digit for each acceptance, 1 if it is stored.
local function accept(entries, settlings)
  local keys, news = {unknown_ones}, {'', keep, '0'}
  for i, settling in ipairs(settlings) do
    if string.byte(settling) == PLUS then
      keys[#keys + 1], news[#news + 1] = entries[i], string.sub(settling, 2)
    end
  end
  return #keys == 1 and '' or string.match(turn(keys, news), '^%S+  (%d*)')
end

-- Settles what is no such acceptance. Answers with 1 where that ends the delivery, with 0 where the
-- ledger knows otherwise, and with -1 where its entry can't be read, which must not harm others.
local function settles(ending, key, settling)
  if string.byte(settling) == PLUS then
    settling = cjson.encode({
      request_id = string.sub(key, start), keep = tonumber(keep), generation = '0',
      learned = 'accepted ',
      fields = cjson.decode('{' .. string.sub(settling, 2, -2) .. '}'),
    })
  end
  if settling == '' then return 1 end
  local is_read, entry = pcall(settle, {key, unknown_ones}, {settling})
  if not is_read then
    local words = type(entry) == 'table' and entry.err or entry
    if string.find(words, '^user_script:%d+: ') or string.find(words, 'WRONGTYPE') then
      return -1
    end
    error(entry)
  end
  if not entry or ending ~= 'done' then return 1 end
  local held = cjson.decode(entry)
  return held.status .. ' ' .. (held.reason or '') == cjson.decode(settling).learned and 1 or 0
end

local function finish(stream, outcomes, ids, reports)
  local are_ours = redis.call('XACK', stream, group, unpack(ids)) == #ids
  if outcomes then
    if not are_ours then
      -- What another worker has ended meanwhile is gone; one report is enough.
      local left = {}
      for i, report in ipairs(split(reports, '[^\n]+')) do
        if #redis.call('XRANGE', stream, ids[i], ids[i]) > 0 then left[#left + 1] = report end
      end
      reports = table.concat(left, '\n')
    end
    if reports ~= '' then
      redis.call('XADD', outcomes, '*', 'report', reports)
      redis.call('EXPIRE', outcomes, kept)
    end
  end
  redis.call('XDEL', stream, unpack(ids))
  redis.call('HDEL', stream .. ':deaths', unpack(ids))
end

local function move_to_the_end(stream, id)
  local entry = redis.call('XRANGE', stream, id, id)[1]
  if entry then
    local fields = entry[2]
    -- Its age goes on: the id tells only when it came to the end.
    local is_dated = false
    for i = 1, #fields, 2 do is_dated = is_dated or fields[i] == 'since' end
    if not is_dated then
      fields[#fields + 1], fields[#fields + 2] = 'since', string.match(id, '^%d+')
    end
    local moved = redis.call('XADD', stream, '*', unpack(fields))
    local died = redis.call('HGET', stream .. ':deaths', id)
    if died then redis.call('HSET', stream .. ':deaths', moved, died) end
  end
  redis.call('XACK', stream, group, id)
  redis.call('XDEL', stream, id)
  redis.call('HDEL', stream .. ':deaths', id)
end

local function give_back(stream, ending, id)
  if #redis.call('XPENDING', stream, group, id, id, 1, worker) == 0 then return end
  if ending == 'last' then return move_to_the_end(stream, id) end
  if ending == 'failed' then redis.call('HINCRBY', stream .. ':deaths', id, 1) end
  local idle = ending == 'now' and lease or 0
  redis.call('XCLAIM', stream, group, 'free', 0, id, 'IDLE', idle, 'JUSTID')
end

-- Ends deliveries of one kind, the first of which has the number after `before`. Answers as the
-- script does.
local function end_alike(before, stream, outcomes, ending, ids, entries, reports, settlings)
  local accepted = accept(entries, settlings)
  if ending == 'done' and #accepted == #ids and not string.find(accepted, '0') then
    finish(stream, outcomes, ids, reports)
    return {}
  end
  local others, done, kept_reports, next_one = {}, {}, {}, 0
  reports = split(reports, '[^\n]+')
  for i, id in ipairs(ids) do
    local settled = 0
    if string.byte(settlings[i]) == PLUS then
      next_one = next_one + 1
      settled = tonumber(string.sub(accepted, next_one, next_one))
    end
    if settled == 0 then settled = settles(ending, entries[i], settlings[i]) end
    if settled < 1 then
      others[#others + 1] = settled < 0 and -(before + i) or before + i
    elseif ending == 'done' then
      done[#done + 1], kept_reports[#kept_reports + 1] = id, reports[i]
    else
      give_back(stream, ending, id)
    end
  end
  if #done > 0 then finish(stream, outcomes, done, table.concat(kept_reports, '\n')) end
  return others
end

local others, before, last_key = {}, 0, streams + 1
for position = 7, #ARGV, 4 do
  local ending, stream, outcomes, count = unpack(cjson.decode(ARGV[position]))
  local ids, reports = split(ARGV[position + 1], '%S+'), ARGV[position + 2]
  local entries, settlings = {}, split(ARGV[position + 3], '([^\n]*)\n')
  for i = 1, count do entries[i] = KEYS[last_key + i] end
  stream, outcomes = KEYS[stream + 1], outcomes > 0 and KEYS[outcomes + 1]
  local left = end_alike(before, stream, outcomes, ending, ids, entries, reports, settlings)
  for _, number in ipairs(left) do others[#others + 1] = number end
  before, last_key = before + count, last_key + count
end
return others
