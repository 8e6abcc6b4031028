-- How a single Redis publishes, in front of every script.
local publish, numsub, channels = 'PUBLISH', 'NUMSUB', 'CHANNELS'

local function at_source(epoch)
  return epoch
end

