-- The handover of a delivery report is a hash whose fields are named as those of `Handover`, all
-- of them texts; the RequestId and the state stand in its key.
local BEGINNINGS = $BEGINNINGS

local function find()
  local stage, turn, till = unpack(redis.call('HMGET', key, 'stage', 'turn', 'until'))
  if not stage then return nil end
  assert(BEGINNINGS[stage], 'it holds a report that this release of esms_async does not know')
  return {stage = stage, turn = turn, ['until'] = till}
end

local function store(stage, turn, till)
  redis.call('HSET', key, 'stage', stage, 'turn', turn, 'until', till)
  redis.call('PEXPIRE', key, told.keep)
end
