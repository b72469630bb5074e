-- Applies a settlement to an entry, as `transitions.settle` does, and returns the entry, or nothing
-- if there is none. Arguments: the `request_id`, the `generation` of the claim, the status and
-- reason `learned`, and the other `fields`.
local fields = told.fields
local known = find(key)
if not known then return false end
local new = after(known, told.generation, told.learned)
local entry = known
if new ~= held(known) then
  entry = evolve(known, {updated_at = clock()})
  know(entry, new)
  for _, name in ipairs($FIELDS) do entry[name] = fields[name] end
elseif known.status == $STATUS_ACCEPTED and not known.sms_id and fields.sms_id then
  entry = evolve(known, {sms_id = fields.sms_id})
elseif known.status == $STATUS_UNKNOWN and told.learned == $ONE_MORE_ATTEMPT then
  entry = evolve(known, {updated_at = clock()})
end
if entry ~= known then store(entry, known) end
return cjson.encode(entry)
