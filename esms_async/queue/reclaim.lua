-- Takes over messages whose lease has run out, and counts a death where their worker is gone.
-- KEYS: the stream, its deaths, the workers. ARGV: group, worker, the lease in milliseconds, how
-- many to take. Answers with a list of id, fields and deaths.
local stream, deaths, workers = unpack(KEYS)
local group, worker, lease, count = unpack(ARGV)
local time = redis.call('TIME')
local now, taken = time[1] + time[2] / 1000000, {}
for _, pending in ipairs(redis.call('XPENDING', stream, group, 'IDLE', lease, '-', '+', count)) do
  local id, owner = pending[1], pending[2]
  local entry = redis.call('XCLAIM', stream, group, worker, lease, id)[1]
  if entry and entry[2] then
    local seen = redis.call('ZSCORE', workers, owner)
    if owner ~= 'free' and (not seen or now - seen > lease / 1000) then
      redis.call('HINCRBY', deaths, id, 1)
    end
    taken[#taken + 1] = {id, entry[2], tonumber(redis.call('HGET', deaths, id) or 0)}
  end
end
return taken
