-- Adds messages to a lane. KEYS: its stream. ARGV: how many fields and values all of them have,
-- these, and for each message its RequestId and what is written of it.
local shared = tonumber(ARGV[1])
for i = shared + 2, #ARGV, 2 do
  redis.call(
    'XADD', KEYS[1], '*', 'r', ARGV[i], 'm', ARGV[i + 1], unpack(ARGV, 2, shared + 1)
  )
end
