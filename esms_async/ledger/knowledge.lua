-- Returns the status and the reason that stand after something was learned of an entry or a report,
-- by the table of `transitions`; nothing where they are unknown to it.
local function after(known, generation, learned)
  local row = '\n' .. held(known) .. ' / ' .. learned .. ': (.-) | (.-)\n'
  local by_latest, by_earlier = string.match($SETTLEMENTS, row)
  return generation == known.generation and by_latest or by_earlier
end

-- Sets the status and the reason of an entry or a report.
local function know(known, new)
  known.status, known.reason = string.match(new, '(%S+) (%S*)')
  if known.reason == '' then known.reason = nil end
end
