-- Moves messages back to their lanes: those with the given ids, or the oldest ones.
-- KEYS: the stream they are in, the set of parked streams. ARGV: what the keys of lanes begin
-- with, how many at most, the id of the last one, and ids. Answers with how many were moved.
local stream, parked = unpack(KEYS)
local prefix, count, last = ARGV[1], ARGV[2], ARGV[3]
local entries = {}
if #ARGV == 3 then
  entries = redis.call('XRANGE', stream, '-', last, 'COUNT', count)
else
  for i = 4, #ARGV do
    entries[#entries + 1] = redis.call('XRANGE', stream, ARGV[i], ARGV[i])[1]
  end
end
for _, entry in ipairs(entries) do
  -- The lane stands first, then why, then the fields of the message as they were.
  local fields = entry[2]
  local first = fields[3] == 'why' and 5 or 3
  redis.call('XADD', prefix .. fields[2], '*', unpack(fields, first))
  redis.call('XDEL', stream, entry[1])
end
if redis.call('XLEN', stream) == 0 then redis.call('SREM', parked, stream) end
return #entries
