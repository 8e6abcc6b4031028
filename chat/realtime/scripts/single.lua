-- How a single Redis publishes, in front of every script.
local publish, numsub = 'PUBLISH', 'NUMSUB'

local function at_source(epoch)
  return epoch
end

local function require_slot() end
