-- Answers a claim with a decision and, on the next line, the entry, as `transitions.claim` does.
-- Arguments: the `request_id`, the `window`, the `doubt_age` in seconds if an earlier attempt may
-- have arrived, and the fields of a `fresh` entry.
local now, known = clock(), find(key)

local function same_fingerprint(one, other)
  if string.sub(one, 1, $KEY_ID_DIGITS) ~= string.sub(other, 1, $KEY_ID_DIGITS) then
    return true
  end
  return one == other
end

if known and not same_fingerprint(known.fingerprint, told.fresh.fingerprint) then
  return $DECISION_CONFLICT .. '\n' .. cjson.encode(known)
end
local decision = CLAIMS[known and held(known) or '']
local entry = known
if decision == $DECISION_RESUME then
  local age = now - known.in_doubt_since
  if age < -$CLOCK_TOLERANCE or age > told.window then
    return $DECISION_EXPIRED .. '\n' .. cjson.encode(known)
  end
  entry = evolve(known, {generation = later_generation(known), updated_at = now})
  store(entry, known)
elseif decision == $DECISION_SEND then
  local since = now
  if told.doubt_age then since = string.format('%.17g', now - told.doubt_age) end
  entry = evolve(told.fresh, {in_doubt_since = since, updated_at = now})
  if known then entry.generation = later_generation(known) end
  store(entry, known or {})
  if told.doubt_age then decision = $DECISION_RESUME end
end
return decision .. '\n' .. cjson.encode(entry)
