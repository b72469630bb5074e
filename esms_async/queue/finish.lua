-- Ends deliveries: settles the entry of the ledger, reports, and acknowledges, in one step.
-- KEYS: the set of the ledger's unknown entries; the streams of messages and of outcomes; then for
-- each delivery its entry in the ledger.
-- ARGV: group, worker, how many seconds reports are kept, the lease in milliseconds, `keep` of the
-- ledger, the number of streams; then for each delivery one text: its id, how it ends, the numbers
-- of its stream and of its stream of outcomes (0: nobody follows), and after line feeds what there
-- is to settle (nothing; the argument of the ledger's `settle`; or for an acceptance a plus and
-- that of `turn`) and its report.
-- Answers with the numbers of the deliveries of which the ledger knows otherwise: they have not
-- ended.
local function turn(KEYS, ARGV)
$TURN
end

local function settle(KEYS, ARGV)
$SETTLE
end

local group, worker, kept, lease, keep, streams = unpack(ARGV, 1, 6)
local unknown_ones = KEYS[1]
local start = #unknown_ones - #'#unknown' + 1
local deliveries, accepted, news = {}, {unknown_ones}, {'', keep, '0'}
for i = 1, #ARGV - 6 do
  local each = {entry = KEYS[streams + 1 + i]}
  each.id, each.ending, each.stream, each.outcomes, each.settling, each.report =
    string.match(ARGV[i + 6], '^(%S+) (%S+) (%d+) (%d+)\n([^\n]*)\n(.*)$')
  deliveries[i] = each
  each.accepted = string.match(each.settling, '^%+(.*)')
  if each.accepted then
    accepted[#accepted + 1] = each.entry
    news[#news + 1] = each.accepted
  end
end

-- Nearly all are acceptances of an entry in doubt, which `turn` stores.
local stored, position = '', 0
if #accepted > 1 then stored = string.match(turn(accepted, news), '^%S+  (%d*)') end
local function settles(each)
  local settling = each.settling
  if each.accepted then
    position = position + 1
    if string.sub(stored, position, position) == '1' then return true end
    settling = cjson.encode({
      request_id = string.sub(each.entry, start), keep = tonumber(keep), generation = '0',
      learned = 'accepted ',
      fields = cjson.decode('{' .. string.sub(each.accepted, 1, -2) .. '}'),
    })
  end
  local entry = settling ~= '' and settle({each.entry, unknown_ones}, {settling})
  if not entry or each.ending ~= 'done' then return true end
  local held = cjson.decode(entry)
  return held.status .. ' ' .. (held.reason or '') == cjson.decode(settling).learned
end

local function move_to_the_end(stream, id)
  local entry = redis.call('XRANGE', stream, id, id)[1]
  if entry then
    local moved = redis.call('XADD', stream, '*', unpack(entry[2]))
    local died = redis.call('HGET', stream .. ':deaths', id)
    if died then redis.call('HSET', stream .. ':deaths', moved, died) end
  end
  redis.call('XACK', stream, group, id)
  redis.call('XDEL', stream, id)
  redis.call('HDEL', stream .. ':deaths', id)
end

local done, reports, others = {}, {}, {}
for i, each in ipairs(deliveries) do
  local id, stream = each.id, KEYS[each.stream + 1]
  if not settles(each) then
    others[#others + 1] = i
  elseif each.ending == 'done' then
    done[stream] = done[stream] or {ids = {}}
    table.insert(done[stream], each)
    table.insert(done[stream].ids, id)
  elseif #redis.call('XPENDING', stream, group, id, id, 1, worker) == 1 then
    if each.ending == 'last' then
      move_to_the_end(stream, id)
    else
      if each.ending == 'failed' then redis.call('HINCRBY', stream .. ':deaths', id, 1) end
      local idle = each.ending == 'now' and lease or 0
      redis.call('XCLAIM', stream, group, 'free', 0, id, 'IDLE', idle, 'JUSTID')
    end
  end
end
for stream, ending in pairs(done) do
  local are_ours = redis.call('XACK', stream, group, unpack(ending.ids)) == #ending
  for _, each in ipairs(ending) do
    -- What another worker has ended meanwhile is gone; one report is enough.
    if each.outcomes ~= '0'
      and (are_ours or #redis.call('XRANGE', stream, each.id, each.id) > 0) then
      local outcomes = KEYS[each.outcomes + 1]
      reports[outcomes] = reports[outcomes] or {}
      table.insert(reports[outcomes], each.report)
    end
  end
  redis.call('XDEL', stream, unpack(ending.ids))
  redis.call('HDEL', stream .. ':deaths', unpack(ending.ids))
end
for outcomes, texts in pairs(reports) do
  redis.call('XADD', outcomes, '*', 'report', table.concat(texts, '\n'))
  redis.call('EXPIRE', outcomes, kept)
end
return others
