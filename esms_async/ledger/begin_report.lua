-- Answers whether the caller may hand a report over, as `handover.begin` does. It needs the
-- `lease` in seconds.
local now, known = clock(), find()
local row = BEGINNINGS[known and known.stage or '']
local runs = known and tonumber(now) <= tonumber(known['until'])
local answer = row[runs and 1 or 2]
if answer == $ANSWER_GO then
  known = {
    stage = $STAGE_UNDER_WAY,
    turn = string.format('%d', known and known.turn + 1 or 1),
    ['until'] = string.format('%.17g', now + told.lease),
  }
  store(known.stage, known.turn, known['until'])
end
return cjson.encode({answer, known})
