-- Records how a turn ended, as `handover.end` does. It needs the number of the `turn`, and its
-- `success`.
local known = find()
if not known then return 0 end
local row = ($ENDINGS)[known.stage .. ' ' .. tostring(told.success)]
local stage = row[told.turn == known.turn and 1 or 2]
if stage ~= known.stage then store(stage, known.turn, clock()) end
return 1
