-- Ends deliveries: settles the entry of the ledger, reports, and acknowledges, in one step.
-- KEYS: the set of the ledger's unknown entries; the streams of messages and of outcomes; then for
-- each delivery its entry in the ledger.
-- ARGV: group, worker, how many seconds reports are kept, the lease in milliseconds, `keep` of the
-- ledger, the number of streams; then for the deliveries of each kind a JSON list of how they end,
-- the numbers of their stream and of their stream of outcomes (0: nobody follows), and how many
-- they are; their ids; their reports, a line each; and for each of them what there is to settle
-- (nothing; the argument of the ledger's `settle`; or for an acceptance a plus and that of `turn`).
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
local kinds, accepted, news = {}, {unknown_ones}, {'', keep, '0'}
local position, last_key = 7, streams + 1
while position < #ARGV do
  local ending, stream, outcomes, count = unpack(cjson.decode(ARGV[position]))
  local kind = {
    ending = ending, stream = KEYS[stream + 1], outcomes = outcomes > 0 and KEYS[outcomes + 1],
    ids = {}, reports = ARGV[position + 2], entries = {}, settlings = {},
  }
  for id in string.gmatch(ARGV[position + 1], '%S+') do kind.ids[#kind.ids + 1] = id end
  for i = 1, count do
    local entry, settling = KEYS[last_key + i], ARGV[position + 2 + i]
    kind.entries[i], kind.settlings[i] = entry, settling
    if string.sub(settling, 1, 1) == '+' then
      accepted[#accepted + 1], news[#news + 1] = entry, string.sub(settling, 2)
    end
  end
  kinds[#kinds + 1] = kind
  position, last_key = position + 3 + count, last_key + count
end

-- Nearly all are acceptances of an entry in doubt, which `turn` stores.
local stored, acceptance = '', 0
if #accepted > 1 then stored = string.match(turn(accepted, news), '^%S+  (%d*)') end
local function settles(ending, key, settling)
  if string.sub(settling, 1, 1) == '+' then
    acceptance = acceptance + 1
    if string.sub(stored, acceptance, acceptance) == '1' then return true end
    settling = cjson.encode({
      request_id = string.sub(key, start), keep = tonumber(keep), generation = '0',
      learned = 'accepted ',
      fields = cjson.decode('{' .. string.sub(settling, 2, -2) .. '}'),
    })
  end
  local entry = settling ~= '' and settle({key, unknown_ones}, {settling})
  if not entry or ending ~= 'done' then return true end
  local held = cjson.decode(entry)
  return held.status .. ' ' .. (held.reason or '') == cjson.decode(settling).learned
end

local function finish(kind, ids, reports)
  local stream = kind.stream
  local are_ours = redis.call('XACK', stream, group, unpack(ids)) == #ids
  if kind.outcomes then
    if not are_ours then
      -- What another worker has ended meanwhile is gone; one report is enough.
      local left = {}
      for i, id in ipairs(ids) do
        if #redis.call('XRANGE', stream, id, id) > 0 then left[#left + 1] = reports[i] end
      end
      reports = left
    end
    if #reports > 0 then
      redis.call('XADD', kind.outcomes, '*', 'report', table.concat(reports, '\n'))
      redis.call('EXPIRE', kind.outcomes, kept)
    end
  end
  redis.call('XDEL', stream, unpack(ids))
  redis.call('HDEL', stream .. ':deaths', unpack(ids))
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

local function give_back(kind, id)
  local stream, ending = kind.stream, kind.ending
  if #redis.call('XPENDING', stream, group, id, id, 1, worker) == 0 then return end
  if ending == 'last' then return move_to_the_end(stream, id) end
  if ending == 'failed' then redis.call('HINCRBY', stream .. ':deaths', id, 1) end
  local idle = ending == 'now' and lease or 0
  redis.call('XCLAIM', stream, group, 'free', 0, id, 'IDLE', idle, 'JUSTID')
end

local others, number = {}, 0
for _, kind in ipairs(kinds) do
  local ids, reports, next_report = {}, {}, string.gmatch(kind.reports, '[^\n]+')
  for i, id in ipairs(kind.ids) do
    number = number + 1
    local report = kind.outcomes and next_report()
    if not settles(kind.ending, kind.entries[i], kind.settlings[i]) then
      others[#others + 1] = number
    elseif kind.ending == 'done' then
      ids[#ids + 1], reports[#reports + 1] = id, report
    else
      give_back(kind, id)
    end
  end
  if #ids > 0 then finish(kind, ids, reports) end
end
return others
