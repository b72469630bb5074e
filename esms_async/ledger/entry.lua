-- An entry is a hash with the field names of `Entry` and texts as values; None and False have no
-- field.
local CLAIMS = $CLAIMS

local function held(entry)
  return entry.status .. ' ' .. (entry.reason or '')
end

local function find()
  local flat, entry = redis.call('HGETALL', key), {}
  if #flat == 0 then return nil end
  for i = 1, #flat, 2 do entry[flat[i]] = flat[i + 1] end
  assert(
    entry.status and CLAIMS[held(entry)],
    'it holds an entry that this release of esms_async does not know'
  )
  return entry
end

local function evolve(entry, changes)
  local evolved = {}
  for name, value in pairs(entry) do evolved[name] = value end
  for name, value in pairs(changes) do evolved[name] = value end
  return evolved
end

local function later_generation(entry)
  return string.format('%d', entry.generation + 1)
end

-- Writes the fields that differ. A claim first writes what needs memory, so it fails early without
-- any. A settlement first deletes: a server at its maxmemory then lets the script end.
local function store(entry, known)
  local is_unknown = entry.status == $STATUS_UNKNOWN
  if not is_unknown then redis.call('ZREM', unknown_ones, told.request_id) end
  local changes = {}
  for name, value in pairs(entry) do
    if known[name] ~= value then
      changes[#changes + 1] = name
      changes[#changes + 1] = value
    end
  end
  if #changes > 0 then redis.call('HSET', key, unpack(changes)) end
  for name in pairs(known) do
    if entry[name] == nil then redis.call('HDEL', key, name) end
  end
  if not is_unknown then
    redis.call('PEXPIRE', key, told.keep)
  elseif known.status ~= entry.status then
    redis.call('ZADD', unknown_ones, 0, told.request_id)
    redis.call('PERSIST', key)
  end
end
