-- How a single Redis publishes, in front of every script.
local publish, numsub = 'PUBLISH', 'NUMSUB'

local function at_source(epoch)
  return epoch
end

local function get_if_whole(key)
  return redis.call('GET', key)
end
