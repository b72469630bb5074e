-- An entry is a JSON object with the field names of `Entry` and texts as values; None and False have
-- no member. A string takes one command where a hash takes three.
local CLAIMS = $CLAIMS

local function held(entry)
  return entry.status .. ' ' .. (entry.reason or '')
end

local function find(key)
  local text = redis.call('GET', key)
  if not text then return nil end
  local entry = cjson.decode(text)
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

-- A claim first writes what needs memory, so it fails early without any. A settlement first deletes:
-- a server at its maxmemory then lets the script end.
local function store(entry, known)
  local text = cjson.encode(entry)
  if entry.status == $STATUS_UNKNOWN then
    redis.call('SET', key, text)
    if known.status ~= entry.status then redis.call('ZADD', unknown_ones, 0, told.request_id) end
  else
    redis.call('ZREM', unknown_ones, told.request_id)
    redis.call('SET', key, text, 'PX', told.keep)
  end
end
